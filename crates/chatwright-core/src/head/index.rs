use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::text::{OrganizationId, TooLarge, UserId};
use crate::{ChatId, Timestamp};

/// What can be queried about a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Index {
    /// The user that the chat belongs to.
    pub owner: UserId,
    /// The organization that the chat belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationId>,
    /// The chat that spawned this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ChatId>,
    /// The root of the family, if this is not it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ChatId>,
    /// Who created it: a person at a screen or a program.
    pub client_type: ClientType,
    /// What the chat is doing.
    pub status: Status,
    /// Whether it is archived.
    pub archived: bool,
    /// Its title.
    pub title: Title,
    /// The host's own labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// When it was created, in store time.
    pub created: Timestamp,
    /// When its content last changed, in store time.
    pub updated: Timestamp,
}

impl Index {
    /// The index of a new chat at rest: no title, no labels, client type `api`.
    pub fn new(owner: UserId, now: Timestamp) -> Self {
        Self {
            owner,
            organization: None,
            parent: None,
            root: None,
            client_type: ClientType::Api,
            status: Status::Waiting,
            archived: false,
            title: Title::default(),
            labels: Labels::default(),
            created: now,
            updated: now,
        }
    }
}

/// What a chat is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// At rest: it waits for its user.
    #[default]
    Waiting,
    /// A turn runs, or waits for somebody to run it.
    Running,
    /// A turn is being stopped.
    Interrupting,
    /// It waits for a client's tool results or for an approval.
    RequiresAction,
    /// The last turn failed.
    Error,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Running, Self::Interrupting, Self::RequiresAction, Self::Error];

    /// The name in the stored format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Interrupting => "interrupting",
            Self::RequiresAction => "requires_action",
            Self::Error => "error",
        }
    }
}

/// Who created a chat. For telemetry, not for behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientType {
    /// A person at a screen.
    Ui,
    /// A program.
    #[default]
    Api,
}

/// A title: at most [`limits::TITLE_SCALARS_MAX`] Unicode scalar values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "Box<str>")]
pub struct Title(Box<str>);

impl Title {
    /// The title as it is.
    ///
    /// # Errors
    /// [`TooLarge`] above [`limits::TITLE_SCALARS_MAX`] characters.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, TooLarge> {
        let text = text.into();
        TooLarge::check("title", text.chars().count(), limits::TITLE_SCALARS_MAX, "characters")?;
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Box<str>> for Title {
    type Error = TooLarge;

    fn try_from(text: Box<str>) -> Result<Self, TooLarge> {
        Self::new(text)
    }
}

impl From<Title> for Box<str> {
    fn from(title: Title) -> Self {
        title.0
    }
}

/// The host's own labels of a chat: at most [`limits::LABELS_MAX`], each bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<Box<str>, Box<str>>", into = "BTreeMap<Box<str>, Box<str>>")]
pub struct Labels(BTreeMap<Box<str>, Box<str>>);

impl Labels {
    /// Sets a label.
    ///
    /// # Errors
    /// [`TooLarge`] if the key, the value or the number of labels is over its bound; nothing is changed then.
    pub fn set(&mut self, key: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Result<(), TooLarge> {
        let (key, value) = (key.into(), value.into());
        TooLarge::check_bytes("label key", key.len(), limits::LABEL_KEY_BYTES_MAX)?;
        TooLarge::check_bytes("label value", value.len(), limits::LABEL_VALUE_BYTES_MAX)?;
        let count = self.0.len() + usize::from(!self.0.contains_key(&key));
        TooLarge::check("labels", count, limits::LABELS_MAX, "entries")?;
        self.0.insert(key, value);
        Ok(())
    }

    /// Removes a label.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// The value of a label.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| &**value)
    }

    /// All labels, ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<Box<str>, Box<str>>> for Labels {
    type Error = TooLarge;

    fn try_from(map: BTreeMap<Box<str>, Box<str>>) -> Result<Self, TooLarge> {
        let mut labels = Self::default();
        map.into_iter().try_for_each(|(key, value)| labels.set(key, value))?;
        Ok(labels)
    }
}

impl From<Labels> for BTreeMap<Box<str>, Box<str>> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oversized_title_label_or_id_names_itself_and_its_bound() {
        let words = |result: Result<(), TooLarge>| result.expect_err("over the bound").to_string();
        assert_eq!(
            words(Title::new("é".repeat(201)).map(drop)),
            "title is too large: 201 characters, at most 200"
        );
        assert_eq!(Title::new("é".repeat(200)).map(|title| title.as_str().len()), Ok(400));
        let mut labels = Labels::default();
        assert_eq!(words(labels.set("k".repeat(65), "")), "label key is too large: 65 bytes, at most 64");
        assert_eq!(words(labels.set("k", "v".repeat(65))), "label value is too large: 65 bytes, at most 64");
        (0..50).for_each(|n| labels.set(n.to_string(), "").expect("fifty fit"));
        assert_eq!(words(labels.set("one more", "")), "labels is too large: 51 entries, at most 50");
        assert_eq!(labels.set("7", "again"), Ok(()), "a known key takes no room");
        assert_eq!(
            words(UserId::new("u".repeat(65)).map(drop)),
            "user id is too large: 65 bytes, at most 64"
        );
    }

    #[test]
    fn names_of_the_stored_format_are_those_of_serde() {
        for status in Status::ALL {
            assert_eq!(serde_json::to_value(status).ok(), Some(status.as_str().into()));
        }
    }
}
