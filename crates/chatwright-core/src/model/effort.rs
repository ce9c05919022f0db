use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a model should think before it answers: one scale for all providers. Adapters take the nearest that theirs has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasoningEffort {
    /// Not at all, where the model can leave it.
    None,
    /// As little as it can.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
    /// As much as it can.
    Max,
}

impl ReasoningEffort {
    /// The scale, upwards.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    /// Its name on the scale.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The nearest of these levels: the highest that is not above it, or else the lowest. Itself if there are none.
    #[must_use]
    pub fn among(self, levels: &[Self]) -> Self {
        let below = levels.iter().filter(|&&level| level <= self).max();
        below.or(levels.iter().min()).copied().unwrap_or(self)
    }

    /// Tokens of thought for formats that count them: from 0 through 1,024 for the least to 32,768 for the most.
    pub fn thinking_tokens(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1_024,
            Self::Low => 4_096,
            Self::Medium => 8_192,
            Self::High => 16_384,
            Self::XHigh => 24_576,
            Self::Max => 32_768,
        }
    }
}

impl fmt::Display for ReasoningEffort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a model's configuration says of [`ReasoningEffort`]. A model whose configuration says nothing is asked for none.
///
/// ```
/// use chatwright_core::model::{EffortPolicy, ReasoningEffort};
///
/// let policy: EffortPolicy = serde_json::from_str(r#"{"default": "medium", "max": "high"}"#)?;
/// assert_eq!(policy.effort(None), Some(ReasoningEffort::Medium));
/// assert_eq!(policy.effort(Some(ReasoningEffort::Max)), Some(ReasoningEffort::High));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EffortPolicy {
    /// The effort of calls that ask for none; absent, it is left to the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<ReasoningEffort>,
    /// The highest that a call gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<ReasoningEffort>,
    /// The levels that the model knows; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<ReasoningEffort>,
}

impl EffortPolicy {
    /// The effort of a call that asks for this one.
    pub fn effort(&self, asked: Option<ReasoningEffort>) -> Option<ReasoningEffort> {
        let effort = asked.or(self.default)?;
        let effort = self.max.map_or(effort, |max| effort.min(max));
        Some(effort.among(&self.levels))
    }
}

#[cfg(test)]
mod tests {
    use super::ReasoningEffort::{High, Low, Max, Medium, Minimal, None as No, XHigh};
    use super::*;

    #[test]
    fn an_effort_becomes_the_nearest_level_that_is_not_above_it_or_else_the_lowest() {
        for (asked, levels, expected) in [
            (XHigh, &[][..], XHigh),
            (XHigh, &[Low, Medium, High], High),
            (Minimal, &[Low, High], Low),
            (No, &[High], High),
            (Medium, &[High, No, Low], Low),
            (Max, &[Max, No], Max),
        ] {
            assert_eq!(asked.among(levels), expected, "{asked} among {levels:?}");
        }
    }

    #[test]
    fn a_policy_gives_the_default_and_clamps_to_its_most_and_to_what_the_model_knows() {
        let policy =
            |default, max, levels: &[ReasoningEffort]| EffortPolicy { default, max, levels: levels.into() };
        for (policy, asked, expected) in [
            (policy(None, None, &[]), None, None),
            (policy(None, None, &[]), Some(Max), Some(Max)),
            (policy(Some(Medium), None, &[]), None, Some(Medium)),
            (policy(Some(Medium), None, &[]), Some(Low), Some(Low)),
            (policy(Some(Max), Some(High), &[]), None, Some(High)),
            (policy(Some(Low), Some(High), &[]), Some(XHigh), Some(High)),
            (policy(None, Some(High), &[No, Low, Medium]), Some(Max), Some(Medium)),
        ] {
            assert_eq!(policy.effort(asked), expected, "{policy:?} asked for {asked:?}");
        }
    }

    #[test]
    fn the_scale_rises_with_its_names_and_its_tokens() {
        assert!(ReasoningEffort::ALL.is_sorted());
        assert!(ReasoningEffort::ALL.map(ReasoningEffort::thinking_tokens).is_sorted());
        for effort in ReasoningEffort::ALL {
            let json = serde_json::to_value(effort).expect("a word");
            assert_eq!(json, effort.as_str());
            assert_eq!(serde_json::from_value::<ReasoningEffort>(json).ok(), Some(effort));
        }
    }
}
