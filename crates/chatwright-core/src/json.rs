//! JSON text that is kept byte for byte.

use std::fmt;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Well-formed JSON text, kept byte for byte: white space, key order, duplicate keys and `\u0000` survive.
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

impl Json {
    /// Takes text that is one JSON value.
    ///
    /// # Errors
    /// What is wrong with the text, with line and column.
    pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        serde_json::from_str::<IgnoredAny>(&text)?;
        Ok(Self(text))
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// What the value's own `Serialize` reports, or a map key that is not a string.
    pub fn encode(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// What does not fit `T`, with line and column.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many bytes the text has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Always false: no JSON value is empty text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// As a string that holds the text, so that it survives other JSON around it byte for byte.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Json {
    /// The size only: bodies hold customers' words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_byte_for_byte_and_checked() {
        let odd = r#" {"a": 1, "a" :2,"n":"\u0000"} "#;
        assert_eq!(Json::parse(odd).map(|json| json.as_str().to_owned()).ok().as_deref(), Some(odd));
        let json = Json::parse(odd).expect("valid");
        let nested = serde_json::to_string(&[&json]).expect("a string encodes");
        assert_eq!(serde_json::from_str::<[Json; 1]>(&nested).ok(), Some([json]));
        assert!(serde_json::from_str::<Json>("\"{\"").is_err());
        for bad in ["", "{", "{} {}", "nul", "{\"a\":\u{0}}"] {
            assert!(Json::parse(bad).is_err(), "{bad:?} is not JSON");
        }
    }
}
