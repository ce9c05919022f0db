//! Fields of events that are decoded only where they are read.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A field of a known event.
///
/// # Errors
/// It is not there, or of another type.
pub(crate) fn field<'a, T: Deserialize<'a>>(name: &str, raw: Option<&'a RawValue>) -> Result<T, String> {
    let raw = raw.ok_or_else(|| format!("it has no {name}"))?;
    serde_json::from_str(raw.get()).map_err(|error| format!("{name}: {error}"))
}

/// The same where it may be left out.
pub(crate) fn optional<'a, T: Deserialize<'a> + Default>(
    name: &str,
    raw: Option<&'a RawValue>,
) -> Result<T, String> {
    raw.map_or_else(|| Ok(T::default()), |raw| field(name, Some(raw)))
}

/// A string that stays where it is if it can.
pub(crate) fn word(raw: &RawValue) -> Result<Cow<'_, str>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Word<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str(raw.get()).map(|Word(word)| word)
}

/// A number of tokens. A few servers write counts as decimals; a negative or a broken one is not a count.
pub(crate) fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|n| (0.0..9e15).contains(n)).map(|n| n as u64))
}
