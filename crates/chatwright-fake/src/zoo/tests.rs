use std::collections::BTreeSet;
use std::time::Duration;

use chatwright_core::model::{ModelCall, ModelPart};
use chatwright_core::port::LanguageModel;
use futures::StreamExt;

use super::*;
use crate::{Script, ScriptedModel};

#[test]
fn the_table_has_every_fault_once_in_order() {
    let source = include_str!("../zoo.rs");
    let rows = source.lines().filter_map(|line| line.strip_prefix("//! | `")?.split_once('`'));
    let names: Vec<&str> = rows.map(|(name, _)| name).collect();
    assert_eq!(names, Fault::ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>());
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

#[tokio::test(start_paused = true)]
async fn a_model_in_process_makes_of_every_fault_what_an_honest_adapter_must() {
    for &fault in Fault::ALL {
        let model = ScriptedModel::new(Script::new(vec![fault.reply()]));
        let mut stream = model.stream(ModelCall::default());
        let mut parts = Vec::new();
        // Time is paused: the hour passes at once when nothing else can happen.
        while let Ok(Some(part)) = tokio::time::timeout(Duration::from_secs(3600), stream.next()).await {
            parts.push(part);
        }
        let outcome = match parts.last() {
            Some(ModelPart::Finish(finish)) => Outcome::Answer(finish.reason),
            Some(ModelPart::Failure(failure)) => {
                assert_eq!(failure.header(REQUEST_ID.0), Some(REQUEST_ID.1), "{fault}");
                Outcome::Failure(failure.cause)
            }
            _ => Outcome::Silence,
        };
        assert_eq!(outcome, fault.outcome(), "{fault}: {parts:?}");
        assert_eq!(model.open_calls() == 1, outcome == Outcome::Silence, "{fault}");
    }
}
