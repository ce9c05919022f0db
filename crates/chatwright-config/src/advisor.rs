use chatwright_core::Json;
use chatwright_core::config::{ConfigRow, InvalidConfig};
use serde::Serialize;
use serde_json::Value;

/// The settings of the advisor: a second model that the first may ask.
///
/// They are read leniently, because people write them by hand: names of fields in any case, unknown ones ignored, missing
/// ones and `null` at their defaults. Another type, or text that is no JSON, is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AdvisorSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// How often it may be asked in a turn; 0: as often as the turn may have steps. A row that says less than 0 switches it off.
    pub max_uses_per_run: u32,
    /// Most tokens of its advice; 0: the loop's own bound.
    pub max_output_tokens: u64,
    /// The model that advises; absent: the chat's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_config_id: Option<Box<str>>,
    /// How hard it thinks, in the words of its provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<Box<str>>,
}

impl AdvisorSettings {
    /// Decodes a row.
    ///
    /// # Errors
    /// [`InvalidConfig`] names the field that is wrong.
    pub fn from_row(row: &ConfigRow) -> Result<Self, InvalidConfig> {
        let value = row.value.decode().map_err(|error| InvalidConfig::undecoded(&row.key, &error))?;
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Null => return Ok(Self::default()),
            _ => return Err(InvalidConfig::new(&row.key, "expected an object")),
        };
        let mut settings = Self::default();
        let mut is_barred = false;
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let name = name.to_ascii_lowercase();
            let known = match &*name {
                "enabled" => value.as_bool().map(|is| settings.enabled = is),
                "max_uses_per_run" if value.as_i64().is_some_and(|max| max < 0) => {
                    is_barred = true;
                    Some(())
                }
                "max_uses_per_run" => count(value).map(|max| settings.max_uses_per_run = max),
                "max_output_tokens" => value.as_u64().map(|max| settings.max_output_tokens = max),
                "model_config_id" => value.as_str().map(|id| settings.model_config_id = words(id)),
                "reasoning_effort" => value.as_str().map(|effort| settings.reasoning_effort = words(effort)),
                _ => Some(()),
            };
            let expected = match &*name {
                "enabled" => "true or false",
                "max_uses_per_run" => "a whole number",
                "model_config_id" | "reasoning_effort" => "a string",
                _ => "a whole number of at least 0",
            };
            known.ok_or_else(|| InvalidConfig::new(&row.key, format!("{name}: expected {expected}")))?;
        }
        settings.enabled &= !is_barred;
        Ok(settings)
    }

    /// As the value of a row.
    pub fn to_json(&self) -> Json {
        Json::encode(self).expect("strings and numbers encode")
    }
}

fn count(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|count| u32::try_from(count).ok())
}

fn words(text: &str) -> Option<Box<str>> {
    Some(text.into()).filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use chatwright_core::config::ConfigKey;

    use super::*;

    fn read(text: &str) -> Result<AdvisorSettings, String> {
        let value = Json::parse(text).expect("JSON");
        AdvisorSettings::from_row(&ConfigRow { key: ConfigKey::advisor(), version: 1, value })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_read_leniently() {
        for nothing in ["{}", "null", r#"{"enabled":null,"later":[1]}"#, r#"{"model_config_id":""}"#] {
            assert_eq!(read(nothing), Ok(AdvisorSettings::default()));
        }
        let all = r#"{"Enabled":true,"MAX_USES_PER_RUN":3,"max_output_tokens":16384,"model_config_id":"m",
            "reasoning_effort":"high"}"#;
        let all = read(all).expect("valid");
        let expected = AdvisorSettings {
            enabled: true,
            max_uses_per_run: 3,
            max_output_tokens: 16_384,
            model_config_id: Some("m".into()),
            reasoning_effort: Some("high".into()),
        };
        assert_eq!(all, expected);
        assert_eq!(read(expected.to_json().as_str()), Ok(expected), "what is written is read");
    }

    #[test]
    fn less_than_no_uses_is_off_wherever_it_stands() {
        for text in [
            r#"{"enabled":true,"max_uses_per_run":-1}"#,
            r#"{"max_uses_per_run":-9000000000,"Enabled":true}"#,
            r#"{"MAX_USES_PER_RUN":-1,"enabled":true}"#,
        ] {
            assert_eq!(read(text), Ok(AdvisorSettings::default()), "{text}");
        }
    }

    #[test]
    fn another_type_is_an_error_that_names_the_field_and_nothing_else() {
        for (text, why) in [
            ("[]", "expected an object"),
            (r#""sk-secret""#, "expected an object"),
            (r#"{"enabled":"yes"}"#, "enabled: expected true or false"),
            (r#"{"max_uses_per_run":-1.5}"#, "max_uses_per_run: expected a whole number"),
            (r#"{"max_uses_per_run":5000000000}"#, "max_uses_per_run: expected a whole number"),
            (r#"{"max_output_tokens":-1}"#, "max_output_tokens: expected a whole number of at least 0"),
            (r#"{"Max_Output_Tokens":1.5}"#, "max_output_tokens: expected a whole number of at least 0"),
            (r#"{"model_config_id":7}"#, "model_config_id: expected a string"),
        ] {
            assert_eq!(read(text), Err(format!("the configuration advisor_config/ is not valid: {why}")));
        }
    }
}
