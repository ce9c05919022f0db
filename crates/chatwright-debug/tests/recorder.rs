//! Runs and steps as they are recorded: what becomes of calls, retries, drops, turns and processes.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::debug::{DebugRun, DebugStatus, DebugWrite, RunChange, RunKind};
use chatwright_core::history::ValidHistory;
use chatwright_core::model::{CallScope, Finish, FinishReason, ModelPart, ToolDefinition, Usage};
use chatwright_core::port::timing::ChatKind;
use chatwright_core::port::{
    AttemptEnd, Bus, BusError, BusFrames, DebugSwitches, Event, HttpExchange, HttpObserver, HttpRequest,
    LanguageModel, Observer, Purpose, StoreError, Topic,
};
use chatwright_core::record::StopReason;
use chatwright_core::{ChatId, Gen, RunId, Seq, UserId, Uuid};
use chatwright_debug::doc::AttemptStatus;
use chatwright_debug::{DebugSettings, RecorderSettings, RecorderStats, Summary};
use common::recording::{
    Exchange, Model, Tape, again, answer, answer_of, answered, block, call, failed, finish, header,
    prompt_of, record, said, scope, text, words,
};
use common::{Bench, Called, Fault, PATIENCE, Rigged, at, chat, user};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

on_both_stores![
    a_call_is_a_step_with_what_was_asked_and_what_was_answered,
    a_retry_joins_the_step_of_the_attempt_before_it_and_its_success_clears_the_error,
    a_retry_that_is_stopped_is_kept_beside_the_failure_before_it,
    another_turn_is_another_run_and_its_steps_begin_anew,
    each_step_of_a_turn_has_its_whole_prompt,
    how_a_stream_ends_is_how_its_step_ends,
    the_loops_verdict_on_a_dropped_stream_counts,
    a_turn_ends_as_the_loop_says,
    a_turn_that_is_given_back_ends_by_its_last_step_and_goes_on_in_a_second_part,
    a_run_that_a_dead_process_left_is_gone_on_with,
    a_turn_whose_run_was_swept_goes_on_in_a_second_part,
    what_is_no_turn_ends_with_its_answer,
    a_summary_that_failed_stays_an_error_when_its_turn_is_done,
    each_of_several_runs_of_a_turn_has_its_tools,
    advice_that_is_asked_for_twice_at_once_is_recorded_twice,
    a_run_that_somebody_else_ended_costs_its_step_and_nothing_else,
    two_processes_number_the_steps_of_one_turn_without_a_hole,
    what_an_edit_cut_off_is_deleted_and_is_not_written_on,
    an_answer_says_where_it_stands_in_the_chat,
];

fn complete() -> Option<StopReason> {
    Some(StopReason::Complete)
}

async fn a_call_is_a_step_with_what_was_asked_and_what_was_answered(store: Rigged) {
    let tape = Tape::new(store);
    let mut whole = scope(chat(1), 3, 1);
    (whole.root, whole.parent, whole.tip) = (Some(chat(11)), Some(chat(12)), Some(Seq::new(4)));
    let prompt = vec![said("Hello"), answered("Hi."), said("What   is\nit?")];
    let mut asked = call(whole, prompt);
    asked.temperature = Some(0.5);
    asked.tools = [ToolDefinition::Function {
        name: "look".into(),
        description: "looks".into(),
        input_schema: json!({"type": "object"}),
        provider_options: BTreeMap::new(),
    }]
    .into();
    let parts = tape.ask(Model::plays(answer("It is this.")), asked).await;
    assert_eq!(parts, answer("It is this."));
    tape.turn_ended(chat(1), complete());
    let (run, records) = tape.only(1).await;
    assert_eq!(
        (run.kind, run.status, run.finished_at),
        (RunKind::ChatTurn, DebugStatus::Completed, Some(at(0)))
    );
    assert_eq!((run.root, run.parent, run.owner), (Some(chat(11)), Some(chat(12)), Some(user("ada"))));
    assert_eq!((run.turn, run.tip), (Some(Seq::new(3)), Some(Seq::new(4))));
    assert_eq!(run.model, Some(Model::plays(vec![]).id()));
    let summary = Summary::from_json(&run.summary);
    assert_eq!(summary.first_message.as_deref(), Some("What is it?"));
    assert_eq!((summary.step_count, summary.attempt_count), (1, 1));
    assert_eq!((summary.total_input_tokens, summary.total_output_tokens), (10, 5));
    let [step] = &records[..] else { panic!("{records:?}") };
    assert_eq!(step.problems, Vec::<String>::new());
    assert_eq!((step.outline.number, step.outline.status), (1, DebugStatus::Completed));
    assert_eq!((step.outline.tip, step.outline.error.clone()), (Some(Seq::new(4)), None));
    let request = step.request.as_ref().expect("it was asked");
    assert_eq!(prompt_of(step), ["Hello", "Hi.", "What   is\nit?"]);
    assert_eq!(request.doc.settings, BTreeMap::from([("temperature".into(), json!(0.5))]));
    let tool = json!({"type": "function", "name": "look", "description": "looks", "input_schema": {"type": "object"}});
    assert_eq!((request.doc.tool_count, &request.tools), (1, &vec![tool]));
    let response = step.response.as_ref().expect("it was answered");
    assert_eq!(response.content, [Part::text("It is this.")]);
    assert_eq!((response.doc.finish_reason, response.doc.dropped_bytes), (Some(FinishReason::Stop), 0));
    let [attempt] = &step.attempts[..] else { panic!("{:?}", step.attempts) };
    assert_eq!((attempt.doc.number, attempt.doc.status), (1, AttemptStatus::Completed));
    assert_eq!((attempt.doc.r#gen, attempt.doc.started_at), (Some(Gen::new(1)), at(0).as_millis()));
}

async fn a_retry_joins_the_step_of_the_attempt_before_it_and_its_success_clears_the_error(store: Rigged) {
    let tape = Tape::new(store);
    let asked = |attempt: u32| call(again(scope(chat(1), 3, attempt.into()), attempt), vec![said("Hi")]);
    let mut broken = block("I be");
    broken.push(failed("boom"));
    tape.ask(Model::plays(broken), asked(1)).await;
    let (_, records) = tape.only(1).await;
    let error = records[0].outline.error.as_ref().expect("it failed").as_str();
    assert!(error.contains("\"cause\":\"reset\""), "{error}");
    assert_eq!((records[0].outline.status, answer_of(&records[0])), (DebugStatus::Error, None));
    tape.bench.clock.advance(Duration::from_secs(1));
    tape.ask(Model::plays(answer("I am here.")), asked(2)).await;
    let (_, records) = tape.only(1).await;
    let [step] = &records[..] else { panic!("one step was expected: {records:?}") };
    assert_eq!((step.outline.status, step.outline.error.clone()), (DebugStatus::Completed, None));
    assert_eq!(step.outline.finished_at, Some(at(1_000)), "it ends with its last attempt");
    assert_eq!(answer_of(step).as_deref(), Some("I am here."));
    let attempts: Vec<_> = step
        .attempts
        .iter()
        .map(|attempt| (attempt.doc.number, attempt.doc.r#gen, attempt.doc.status, words(&attempt.content)))
        .collect();
    assert_eq!(
        attempts,
        [
            (1, Some(Gen::new(1)), AttemptStatus::Failed, "I be".to_owned()),
            (2, Some(Gen::new(2)), AttemptStatus::Completed, String::new())
        ]
    );
    let failure = step.attempts[0].doc.failure.as_ref().expect("it failed");
    assert_eq!((&*failure.cause, failure.message.as_deref()), ("reset", Some("boom")));
    // And what comes then is another step, first attempt or not.
    tape.ask(Model::plays(answer("More.")), asked(2)).await;
    let (_, records) = tape.only(1).await;
    assert_eq!(records.iter().map(|step| step.outline.number).collect::<Vec<_>>(), [1, 2]);
}

async fn a_retry_that_is_stopped_is_kept_beside_the_failure_before_it(store: Rigged) {
    let tape = Tape::new(store);
    let asked = |attempt: u32| call(again(scope(chat(1), 3, attempt.into()), attempt), vec![said("Hi")]);
    tape.ask(Model::plays(vec![failed("boom")]), asked(1)).await;
    let mut stream = tape.recorder.model(Model::stalls(block("I beg"))).stream(asked(2));
    for _ in block("I beg") {
        stream.next().await;
    }
    drop(stream);
    let (_, records) = tape.only(1).await;
    let [step] = &records[..] else { panic!("one step was expected: {records:?}") };
    let statuses: Vec<_> = step.attempts.iter().map(|attempt| attempt.doc.status).collect();
    assert_eq!(statuses, [AttemptStatus::Failed, AttemptStatus::Interrupted]);
    assert_eq!(answer_of(step).as_deref(), Some("I beg"));
    assert_eq!(step.outline.status, DebugStatus::Error, "a failure that nothing healed");
}

async fn another_turn_is_another_run_and_its_steps_begin_anew(store: Rigged) {
    let tape = Tape::new(store);
    for (turn, words) in [(3, "one"), (3, "two"), (7, "three")] {
        tape.ask(Model::plays(answer(words)), call(scope(chat(1), turn, 1), vec![said("Hi")])).await;
        tape.bench.clock.advance(Duration::from_secs(1));
    }
    // Another chat's are its own.
    tape.ask(Model::plays(answer("four")), call(scope(chat(2), 3, 1), vec![said("Hi")])).await;
    tape.flush().await;
    let mut found = Vec::new();
    for of in [chat(1), chat(2)] {
        for run in tape.bench.runs(of).await {
            let records = tape.bench.records(of, run.id).await;
            let steps: Vec<_> = records.iter().map(|step| (step.outline.number, answer_of(step))).collect();
            found.push((of, run.turn.map(Seq::get), run.status, steps));
        }
    }
    let step = |number, words: &str| (number, Some(words.to_owned()));
    let expected = [
        (chat(1), Some(3), DebugStatus::Completed, vec![step(1, "one"), step(2, "two")]),
        (chat(1), Some(7), DebugStatus::InProgress, vec![step(1, "three")]),
        (chat(2), Some(3), DebugStatus::InProgress, vec![step(1, "four")]),
    ];
    assert_eq!(found, expected);
}

async fn each_step_of_a_turn_has_its_whole_prompt(store: Rigged) {
    let tape = Tape::new(store);
    let mut history = ValidHistory::from(vec![said("0")]);
    let mut expected = vec![vec!["0".to_owned()]];
    for n in 1..6 {
        tape.ask(Model::plays(answer("ok")), call(scope(chat(1), 3, n), history.clone())).await;
        let mut more = vec![answered(&format!("{n}")), said(&format!("{n}?"))];
        if n == 3 {
            // What is held elsewhere too is copied when it grows.
            let held = history.clone();
            history.extend(more.clone()).expect("valid");
            drop(held);
        } else {
            history.extend(std::mem::take(&mut more)).expect("valid");
        }
        let mut prompt = expected.last().expect("not empty").clone();
        prompt.extend([format!("{n}"), format!("{n}?")]);
        expected.push(prompt);
    }
    expected.pop();
    let (_, records) = tape.only(1).await;
    assert_eq!(records.iter().map(prompt_of).collect::<Vec<_>>(), expected);
}

/// What is asked, how many of its parts are read, and how its step ends.
type Ended = (&'static str, Arc<Model>, usize, DebugStatus, Option<&'static str>);

async fn how_a_stream_ends_is_how_its_step_ends(store: Rigged) {
    let tape = Tape::new(store);
    let mut unfinished = block("Half");
    unfinished.push(ModelPart::KeepAlive);
    let error = || finish(FinishReason::Error, 1, 1);
    let cases: [Ended; 8] = [
        ("read to its end", Model::plays(answer("All")), 9, DebugStatus::Completed, Some("All")),
        ("dropped after its last part", Model::plays(answer("All")), 4, DebugStatus::Completed, Some("All")),
        ("dropped before it", Model::plays(answer("All")), 3, DebugStatus::Interrupted, Some("All")),
        ("dropped in the middle", Model::stalls(block("Half")), 2, DebugStatus::Interrupted, Some("Half")),
        ("never polled", Model::plays(answer("All")), 0, DebugStatus::Interrupted, Some("")),
        ("without a last part", Model::plays(unfinished), 9, DebugStatus::Interrupted, Some("Half")),
        ("failed", Model::plays(vec![failed("boom")]), 9, DebugStatus::Error, None),
        ("ended by the provider", Model::plays(vec![error()]), 9, DebugStatus::Error, Some("")),
    ];
    for (n, (what, model, parts, status, said_so_far)) in (1..).zip(cases) {
        let mut stream = tape.recorder.model(model).stream(call(scope(chat(n), 3, 1), vec![said("Hi")]));
        for _ in 0..parts {
            if stream.next().await.is_none() {
                break;
            }
        }
        drop(stream);
        let (_, records) = tape.only(n).await;
        let [step] = &records[..] else { panic!("{what}: {records:?}") };
        assert_eq!(step.outline.status, status, "{what}");
        assert_eq!(answer_of(step).as_deref(), said_so_far, "{what}");
        assert_eq!(step.outline.usage.is_some(), matches!(parts, 9 | 4) && !matches!(n, 6 | 7), "{what}");
        assert_eq!(step.outline.finished_at, Some(at(0)), "{what}");
    }
}

async fn the_loops_verdict_on_a_dropped_stream_counts(store: Rigged) {
    let tape = Tape::new(store);
    for (n, end, expected) in [
        (1, AttemptEnd::Failed("timeout"), (DebugStatus::Error, true)),
        (2, AttemptEnd::Interrupted, (DebugStatus::Interrupted, false)),
        (3, AttemptEnd::Aborted, (DebugStatus::Interrupted, false)),
    ] {
        let stream = tape.recorder.model(Model::stalls(vec![]));
        drop(stream.stream(call(scope(chat(n), 3, 5), vec![said("Hi")])));
        // Of another gen.
        tape.attempt_ended(chat(n), 4, AttemptEnd::Failed("other"));
        tape.attempt_ended(chat(n), 5, end);
        let (_, records) = tape.only(n).await;
        let step = &records[0].outline;
        assert_eq!((step.status, step.error.is_some()), expected, "{end:?}");
        if let Some(error) = &step.error {
            assert!(error.as_str().contains("\"timeout\""), "{error:?}");
        }
    }
    // The loop has heard enough of it; or somebody between the two has, and the answer is stored; or it says that it failed, and its
    // calls are taken all the same.
    for (n, is_stored, end) in [
        (5, false, AttemptEnd::Finished(FinishReason::Length)),
        (6, true, AttemptEnd::Finished(FinishReason::Stop)),
        (7, false, AttemptEnd::Finished(FinishReason::Error)),
    ] {
        let asked = call(scope(chat(n), 3, 5), vec![said("Hi")]);
        if n == 7 {
            tape.ask(Model::plays(vec![finish(FinishReason::Error, 1, 1)]), asked).await;
        } else {
            drop(tape.recorder.model(Model::stalls(vec![])).stream(asked));
        }
        if is_stored {
            let (model, answer) = (Model::plays(vec![]).id(), Seq::new(8));
            tape.tell(&Event::StepStored { chat: chat(n), r#gen: Gen::new(5), answer, model: &model });
        }
        tape.attempt_ended(chat(n), 5, end);
        let (_, records) = tape.only(n).await;
        assert_eq!(records[0].outline.status, DebugStatus::Completed, "{end:?}");
    }
    // An answer that came whole and is none.
    tape.ask(
        Model::plays(vec![finish(FinishReason::Stop, 1, 1)]),
        call(scope(chat(4), 3, 5), vec![said("Hi")]),
    )
    .await;
    tape.attempt_ended(chat(4), 5, AttemptEnd::Failed("no_answer"));
    let (_, records) = tape.only(4).await;
    assert!(records[0].outline.error.as_ref().is_some_and(|error| error.as_str().contains("no_answer")));
}

async fn a_turn_ends_as_the_loop_says(store: Rigged) {
    let tape = Tape::new(store);
    let cases = [
        (complete(), DebugStatus::Completed),
        (Some(StopReason::StepLimit), DebugStatus::Completed),
        (Some(StopReason::Interrupted), DebugStatus::Interrupted),
        (None, DebugStatus::Error),
    ];
    for (n, (reason, expected)) in (1..).zip(cases) {
        tape.ask(Model::plays(answer("ok")), call(scope(chat(n), 3, 1), vec![said("Hi")])).await;
        tape.turn_ended(chat(n), reason);
        // The turn is over: this says nothing more of it.
        tape.released(chat(n));
        let (run, _) = tape.only(n).await;
        assert_eq!((run.status, run.finished_at), (expected, Some(at(0))), "{reason:?}");
    }
    tape.ask(Model::plays(answer("ok")), call(scope(chat(9), 3, 1), vec![said("Hi")])).await;
    tape.tell(&Event::TurnAbandoned { chat: chat(9), kind: ChatKind::Root });
    assert_eq!(tape.only(9).await.0.status, DebugStatus::Interrupted);
}

async fn a_turn_that_is_given_back_ends_by_its_last_step_and_goes_on_in_a_second_part(store: Rigged) {
    let tape = Tape::new(store);
    tape.ask(Model::plays(answer("one")), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    tape.released(chat(1));
    let (run, _) = tape.only(1).await;
    assert_eq!(run.status, DebugStatus::Completed);
    tape.bench.clock.advance(Duration::from_secs(1));
    drop(tape.recorder.model(Model::stalls(vec![])).stream(call(scope(chat(1), 3, 2), vec![said("Hi")])));
    tape.released(chat(1));
    tape.flush().await;
    let runs = tape.bench.runs(chat(1)).await;
    let found: Vec<_> = runs.iter().map(|run| (run.turn.map(Seq::get), run.status)).collect();
    assert_eq!(found, [(Some(3), DebugStatus::Completed), (Some(3), DebugStatus::Interrupted)]);
    let second = tape.bench.records(chat(1), runs[1].id).await;
    assert_eq!(prompt_of(&second[0]), ["Hi"]);
    assert_eq!(second[0].outline.number, 1);
}

async fn a_run_that_a_dead_process_left_is_gone_on_with(store: Rigged) {
    let dead = Tape::new(store.clone());
    dead.ask(Model::plays(answer("one")), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    assert!(dead.recorder.shutdown(PATIENCE).await);
    let tape = Tape::new(store);
    tape.ask(Model::plays(answer("two")), call(scope(chat(1), 3, 2), vec![said("Hi")])).await;
    tape.turn_ended(chat(1), complete());
    let (run, records) = tape.only(1).await;
    let steps: Vec<_> = records.iter().map(|step| (step.outline.number, answer_of(step))).collect();
    assert_eq!(steps, [(1, Some("one".to_owned())), (2, Some("two".to_owned()))]);
    assert_eq!(records.iter().flat_map(prompt_of).collect::<Vec<_>>(), ["Hi", "Hi"]);
    let summary = Summary::from_json(&run.summary);
    assert_eq!((run.status, summary.step_count, summary.total_input_tokens), (DebugStatus::Completed, 2, 20));
    // What the dead one would still like to write goes nowhere.
    assert_eq!(
        dead.ask(Model::plays(answer("x")), call(scope(chat(1), 3, 3), vec![said("Hi")])).await,
        answer("x")
    );
    assert!(!dead.recorder.flush(Duration::from_millis(10)).await);
}

async fn a_turn_whose_run_was_swept_goes_on_in_a_second_part(store: Rigged) {
    let tape = Tape::new(store);
    tape.ask(Model::plays(answer("one")), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    tape.flush().await;
    tape.bench.clock.advance(Duration::from_secs(10 * 60));
    assert_eq!(tape.bench.service.sweep().await.expect("it answers"), (1, 0));
    // The first step finds that out.
    for n in 2..4 {
        tape.ask(Model::plays(answer("more")), call(scope(chat(1), 3, n), vec![said("Hi")])).await;
        tape.flush().await;
    }
    let runs = tape.bench.runs(chat(1)).await;
    let found: Vec<_> = runs.iter().map(|run| (run.turn.map(Seq::get), run.status)).collect();
    assert_eq!(found, [(Some(3), DebugStatus::Interrupted), (Some(3), DebugStatus::InProgress)]);
    assert_eq!(tape.bench.records(chat(1), runs[0].id).await.len(), 1, "nothing was added to what was swept");
    let second = tape.bench.records(chat(1), runs[1].id).await;
    assert_eq!(second.iter().flat_map(prompt_of).collect::<Vec<_>>(), ["Hi"]);
    assert_eq!(tape.recorder.stats().unwritten, 1, "the step that found it out");
}

async fn what_is_no_turn_ends_with_its_answer(store: Rigged) {
    let tape = Tape::new(store);
    let of = |n, purpose| CallScope::new(chat(n), user("ada"), purpose);
    for (n, purpose, kind) in [
        (1, Purpose::Compaction, RunKind::Compaction),
        (2, Purpose::Advisor, RunKind::Advisor),
        (3, Purpose::Title, RunKind::TitleGeneration),
    ] {
        tape.ask(Model::plays(answer("ok")), call(of(n, purpose), vec![said("Hi")])).await;
        let (run, records) = tape.only(n).await;
        assert_eq!((run.kind, run.status), (kind, DebugStatus::Completed));
        assert_eq!((records.len(), answer_of(&records[0]).as_deref()), (1, Some("ok")));
        let summary = Summary::from_json(&run.summary);
        assert_eq!((summary.step_count, summary.first_message.as_deref()), (1, Some("Hi")));
    }
    // A title is asked for once; a summary again.
    tape.ask(Model::plays(vec![failed("boom")]), call(of(4, Purpose::Title), vec![said("Hi")])).await;
    assert_eq!(tape.only(4).await.0.status, DebugStatus::Error);
    tape.ask(Model::plays(vec![failed("boom")]), call(of(5, Purpose::Compaction), vec![said("Hi")])).await;
    assert_eq!(tape.only(5).await.0.status, DebugStatus::InProgress);
    tape.ask(Model::plays(answer("ok")), call(again(of(5, Purpose::Compaction), 2), vec![said("Hi")])).await;
    let (run, records) = tape.only(5).await;
    assert_eq!((run.status, records.len(), records[0].attempts.len()), (DebugStatus::Completed, 1, 2));
}

async fn a_summary_that_failed_stays_an_error_when_its_turn_is_done(store: Rigged) {
    let tape = Tape::new(store);
    tape.ask(Model::plays(answer("one")), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    let mut summary = scope(chat(1), 3, 2);
    summary.purpose = Purpose::Compaction;
    tape.ask(Model::plays(vec![failed("boom")]), call(summary, vec![said("Sum up")])).await;
    tape.turn_ended(chat(1), complete());
    tape.flush().await;
    let mut found: Vec<_> = tape.bench.runs(chat(1)).await.iter().map(|run| (run.kind, run.status)).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [(RunKind::ChatTurn, DebugStatus::Completed), (RunKind::Compaction, DebugStatus::Error)]
    );
}

async fn each_of_several_runs_of_a_turn_has_its_tools(store: Rigged) {
    let tape = Tape::new(store);
    for purpose in [Purpose::Compaction, Purpose::Advisor] {
        for r#gen in [1, 2] {
            let mut of = scope(chat(1), 3, r#gen);
            of.purpose = purpose;
            let mut asked = call(of, vec![said("Hi")]);
            asked.tools = [ToolDefinition::Provider {
                id: "x.look".into(),
                name: "look".into(),
                args: Default::default(),
            }]
            .into();
            tape.ask(Model::plays(answer("ok")), asked).await;
        }
    }
    tape.flush().await;
    let runs = tape.bench.runs(chat(1)).await;
    assert_eq!(runs.len(), 4);
    for run in runs {
        for step in tape.bench.records(chat(1), run.id).await {
            let tools = step.request.as_ref().map(|request| request.tools.len());
            assert_eq!((tools, &step.problems[..]), (Some(1), &[][..]), "{:?}", run.kind);
        }
    }
}

async fn a_run_that_somebody_else_ended_costs_its_step_and_nothing_else(store: Rigged) {
    let tape = Tape::new(store);
    // As many writes as fit into a batch, give or take some: it is full at every place once.
    for stored in 230..256 {
        let (of, n) = (chat(stored), stored as u64);
        let ask = |r#gen, words: &str| {
            let asked = call(scope(of, 3, r#gen), vec![said(words)]);
            let parts = tape.ask(Model::plays(answer(words)), asked).now_or_never();
            assert_eq!(parts, Some(answer(words)), "it waits for nothing");
            tape.bench.clock.advance(Duration::from_millis(1));
        };
        ask(1, "one");
        tape.flush().await;
        let end = RunChange { status: Some(DebugStatus::Interrupted), ..RunChange::default() };
        let run = tape.bench.runs(of).await[0].id;
        tape.bench.service.update_run(of, run, end).await.expect("it is there");
        ask(2, "two");
        for _ in 0..n {
            let (model, answer) = (Model::plays(vec![]).id(), Seq::new(8));
            tape.tell(&Event::StepStored { chat: of, r#gen: Gen::new(2), answer, model: &model });
        }
        ask(3, "three");
        tape.flush().await;
        ask(4, "four");
        tape.turn_ended(of, complete());
        tape.flush().await;
        let mut found = Vec::new();
        for run in tape.bench.runs(of).await {
            found.extend(tape.bench.records(of, run.id).await.iter().filter_map(answer_of));
        }
        assert!(found == ["one", "four"] || found == ["one", "three", "four"], "{stored}: {found:?}");
    }
}

async fn advice_that_is_asked_for_twice_at_once_is_recorded_twice(store: Rigged) {
    let tape = Tape::new(store);
    let mut of = scope(chat(1), 3, 1);
    of.purpose = Purpose::Advisor;
    let ask = |words: &str| {
        tape.recorder.model(Model::plays(answer(words))).stream(call(of.clone(), vec![said(words)]))
    };
    let (mut one, mut other) = (ask("one"), ask("other"));
    one.next().await;
    other.next().await;
    assert_eq!(one.collect::<Vec<_>>().await, answer("one")[1..]);
    assert_eq!(other.collect::<Vec<_>>().await, answer("other")[1..]);
    tape.flush().await;
    let mut found = Vec::new();
    for run in tape.bench.runs(chat(1)).await {
        assert_eq!(run.status, DebugStatus::Completed);
        for step in tape.bench.records(chat(1), run.id).await {
            found.push((step.outline.status, prompt_of(&step), answer_of(&step)));
        }
    }
    found.sort();
    let expected = ["one", "other"]
        .map(|words| (DebugStatus::Completed, vec![words.to_owned()], Some(words.to_owned())));
    assert_eq!(found, expected);
}

async fn two_processes_number_the_steps_of_one_turn_without_a_hole(store: Rigged) {
    let tapes = [Tape::new(store.clone()), Tape::new(store)].map(Arc::new);
    let mut tasks = JoinSet::new();
    for (of, tape) in tapes.iter().enumerate() {
        let tape = Arc::clone(tape);
        tasks.spawn(async move {
            for n in 0..10 {
                let words = format!("{of}.{n}");
                tape.ask(Model::plays(answer(&words)), call(scope(chat(1), 3, n), vec![said(&words)])).await;
                if n % 3 == 0 {
                    tape.flush().await;
                }
            }
            tape.flush().await;
        });
    }
    tasks.join_all().await;
    let (_, records) = tapes[0].only(1).await;
    let numbers: Vec<u32> = records.iter().map(|step| step.outline.number).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    let mut answers: Vec<String> = records.iter().filter_map(answer_of).collect();
    assert_eq!(answers, records.iter().flat_map(prompt_of).collect::<Vec<_>>(), "each has its own");
    answers.sort_unstable();
    let expected: Vec<String> = (0..2).flat_map(|of| (0..10).map(move |n| format!("{of}.{n}"))).collect();
    assert_eq!(answers, expected);
}

async fn what_an_edit_cut_off_is_deleted_and_is_not_written_on(store: Rigged) {
    let tape = Tape::new(store);
    tape.ask(Model::plays(answer("kept")), call(scope(chat(1), 1, 1), vec![said("Hi")])).await;
    tape.turn_ended(chat(1), complete());
    let mut open = tape
        .recorder
        .model(Model::stalls(block("Half")))
        .stream(call(scope(chat(1), 3, 2), vec![said("Hi")]));
    open.next().await;
    tape.flush().await;
    let runs = tape.bench.runs(chat(1)).await;
    let [cut] = &runs.iter().filter(|run| run.turn == Some(Seq::new(3))).collect::<Vec<_>>()[..] else {
        panic!("one run of that turn was expected: {runs:?}")
    };
    tape.tell(&Event::HistoryCut { chat: chat(1), from: Seq::new(3), at: Seq::new(9) });
    tape.flush().await;
    let (before, cut) = (tape.bench.store.writes().len(), cut.id);
    drop(open);
    tape.ask(Model::plays(answer("new")), call(scope(chat(1), 9, 3), vec![said("Hi")])).await;
    tape.flush().await;
    let writes = format!("{:?}", &tape.bench.store.writes()[before..]);
    assert!(!writes.contains(&format!("{cut:?}")), "what was cut off is written on: {writes}");
    let gone = async {
        while tape.bench.runs(chat(1)).await.len() > 2 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("what was cut off is deleted");
    let turns: Vec<_> = tape.bench.runs(chat(1)).await.iter().map(|run| run.turn.map(Seq::get)).collect();
    let mut turns = turns;
    turns.sort_unstable();
    assert_eq!(turns, [Some(1), Some(9)]);
}

async fn an_answer_says_where_it_stands_in_the_chat(store: Rigged) {
    let tape = Tape::new(store);
    tape.ask(Model::plays(answer("one")), call(scope(chat(1), 3, 5), vec![said("Hi")])).await;
    let model = Model::plays(vec![]).id();
    for (r#gen, seq) in [(5, 8), (4, 9)] {
        let (r#gen, answer) = (Gen::new(r#gen), Seq::new(seq));
        tape.tell(&Event::StepStored { chat: chat(1), r#gen, answer, model: &model });
    }
    let (_, records) = tape.only(1).await;
    assert_eq!(records[0].outline.answer, Some(Seq::new(8)), "and another gen's answer is not its own");
}

#[tokio::test]
async fn a_call_that_is_part_of_nothing_passes_as_it_is() {
    let tape = Tape::new(Rigged::memory());
    let untouched = || {
        Model::by(|call| {
            assert!(call.transport.observer.is_none() && call.scope.is_none());
            futures::stream::iter(answer("ok")).boxed()
        })
    };
    let call = chatwright_core::model::ModelCall::new(vec![said("Hi")]);
    assert_eq!(tape.ask(untouched(), call).await, answer("ok"));
    tape.flush().await;
    assert_eq!((tape.bench.store.calls_made(), tape.recorder.stats()), (0, Default::default()));
}

#[tokio::test]
async fn a_chat_that_is_not_to_be_recorded_passes_as_it_is() {
    let bench = Bench::with(Rigged::memory(), DebugSettings::default(), |service| service);
    let tape = Tape::with(bench, RecorderSettings::default());
    let untouched = Model::by(|call| {
        assert!(call.transport.observer.is_none() && call.scope.is_some());
        futures::stream::iter(answer("ok")).boxed()
    });
    let parts = tape.ask(untouched, call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    assert_eq!(parts, answer("ok"));
    tape.turn_ended(chat(1), complete());
    tape.flush().await;
    assert_eq!((tape.bench.store.calls_made(), tape.recorder.stats()), (0, Default::default()));
}

/// What the user wants: as many calls as are left are recorded. It panics where it is told to.
struct Wants {
    user: AtomicUsize,
    panics: bool,
}

#[async_trait]
impl DebugSwitches for Wants {
    async fn allowed(&self) -> Result<Option<bool>, StoreError> {
        let first = self.user.load(Ordering::Relaxed) == 0;
        assert!(!(self.panics && first), "it panics once");
        Ok(Some(true))
    }

    async fn of_user(&self, _: &UserId) -> Result<Option<bool>, StoreError> {
        Ok(Some(self.user.load(Ordering::Relaxed) > 0))
    }

    async fn of_chat(&self, _: ChatId) -> Result<Option<bool>, StoreError> {
        Ok(None)
    }
}

fn wanting(panics: bool) -> (Tape, Arc<Wants>) {
    let wants = Arc::new(Wants { user: AtomicUsize::new(0), panics });
    let mut settings = DebugSettings::default();
    settings.switches_for = Duration::ZERO;
    let with = Arc::clone(&wants) as Arc<dyn DebugSwitches>;
    let bench = Bench::with(Rigged::memory(), settings, |service| service.with_switches(with));
    (Tape::with(bench, RecorderSettings::default()), wants)
}

#[tokio::test]
async fn whether_a_chat_is_recorded_is_looked_at_behind_its_back_and_for_each_step() {
    let (tape, wants) = wanting(false);
    // The first call after it was off pays nothing: that it is on again counts for the next one.
    for (n, wanted) in [0, 1, 1, 0, 1, 1].into_iter().enumerate() {
        wants.user.store(wanted, Ordering::Relaxed);
        let words = format!("{n}");
        let parts = tape
            .ask(Model::plays(answer(&words)), call(scope(chat(1), 3, n as u64), vec![said(&words)]))
            .await;
        assert_eq!(parts, answer(&words));
        tape.flush().await;
    }
    let (_, records) = tape.only(1).await;
    let steps: Vec<_> =
        records.iter().map(|step| (step.outline.number, prompt_of(step), answer_of(step))).collect();
    let step = |number, words: &str| (number, vec![words.to_owned()], Some(words.to_owned()));
    assert_eq!(steps, [step(1, "2"), step(2, "5")]);
    assert_eq!(tape.recorder.stats().recorded, 2);
}

/// Nobody is allowed.
struct Nobody;

#[async_trait]
impl DebugSwitches for Nobody {
    async fn allowed(&self) -> Result<Option<bool>, StoreError> {
        Ok(Some(false))
    }

    async fn of_user(&self, _: &UserId) -> Result<Option<bool>, StoreError> {
        Ok(Some(true))
    }

    async fn of_chat(&self, _: ChatId) -> Result<Option<bool>, StoreError> {
        Ok(Some(true))
    }
}

#[tokio::test]
async fn where_the_administrator_allows_nothing_no_chat_pays_for_it_once_that_is_known() {
    let mut settings = DebugSettings::default();
    settings.switches_for = Duration::ZERO;
    let bench = Bench::with(Rigged::memory(), settings, |service| service.with_switches(Arc::new(Nobody)));
    let tape = Tape::with(bench, RecorderSettings::default());
    for n in 1..6 {
        let words = "word ".repeat(10_000);
        let mut stream = tape
            .recorder
            .model(Model::plays(answer("ok")))
            .stream(call(scope(chat(n), 3, 1), vec![said(&words)]));
        let held = tape.recorder.stats().held_bytes;
        assert_eq!(held > 0, n == 1, "chat {n} holds {held} bytes");
        while stream.next().await.is_some() {}
        tape.flush().await;
    }
    assert_eq!(tape.recorder.stats(), RecorderStats::default());
    assert_eq!(tape.bench.store.calls_made(), 0);
}

#[tokio::test]
async fn tools_take_room_like_everything_else() {
    let mut settings = RecorderSettings::default();
    settings.memory_bytes_max = 1 << 20;
    let tape = Tape::with(Bench::new(Rigged::memory()), settings);
    tape.bench.store.set_open(false);
    for n in 1..40 {
        let mut asked = call(scope(chat(n), 3, 1), vec![said("Hi")]);
        asked.tools = [ToolDefinition::Function {
            name: "look".into(),
            description: format!("{n} {}", "x".repeat(100_000)).into(),
            input_schema: json!({}),
            provider_options: Default::default(),
        }]
        .into();
        assert_eq!(tape.ask(Model::plays(answer("ok")), asked).now_or_never(), Some(answer("ok")));
        assert!(tape.recorder.stats().held_bytes <= 1 << 20);
    }
    tape.bench.store.set_open(true);
    tape.flush().await;
    let whole = tape.only(1).await.1.remove(0);
    assert_eq!(whole.request.expect("it was asked").tools.len(), 1);
    let short = tape.only(39).await.1.remove(0);
    assert!(short.problems.iter().any(|problem| problem.contains("no room")), "{:?}", short.problems);
}

#[tokio::test]
async fn the_key_of_a_request_is_taken_out_of_what_is_said_from_then_on() {
    const KEY: &str = "key-that-nobody-registered-0123";
    let tape = Tape::new(Rigged::memory());
    let keyed = || {
        Model::tells(|observer| {
            let mut exchange = Exchange::new("{}", "application/json", &[b"{}"]);
            exchange.sent.push(header("authorization", &format!("Bearer {KEY}"), true));
            exchange.tell(observer);
        })
    };
    tape.ask(keyed(), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    tape.flush().await;
    let pasted = format!("My key is {KEY}");
    tape.ask(keyed(), call(scope(chat(2), 3, 1), vec![said(&pasted)])).await;
    let (run, records) = tape.only(2).await;
    assert_eq!(prompt_of(&records[0]), ["My key is [REDACTED]"]);
    assert_eq!(Summary::from_json(&run.summary).first_message.as_deref(), Some("My key is [REDACTED]"));
}

#[tokio::test]
async fn switches_that_panic_end_no_recorder() {
    let (tape, wants) = wanting(true);
    for n in 0..2 {
        wants.user.store(n, Ordering::Relaxed);
        let asked = call(scope(chat(1), 3, n as u64), vec![said("Hi")]);
        assert_eq!(tape.ask(Model::plays(answer("ok")), asked).await, answer("ok"));
        tape.flush().await;
    }
    let (_, records) = tape.only(1).await;
    assert_eq!(records.iter().filter_map(answer_of).collect::<Vec<_>>(), ["ok"]);
}

/// One of each.
fn each_part() -> Vec<ModelPart> {
    let metadata = || Metadata::default();
    vec![
        ModelPart::Warnings(vec!["top_k has no place".to_owned()]),
        ModelPart::KeepAlive,
        ModelPart::ReasoningStart { id: "r".into(), metadata: metadata() },
        ModelPart::ReasoningDelta { id: "r".into(), delta: "H".to_owned(), metadata: metadata() },
        ModelPart::ReasoningDelta { id: "r".into(), delta: "m".to_owned(), metadata: metadata() },
        ModelPart::ReasoningEnd { id: "r".into(), metadata: metadata() },
        ModelPart::TextStart { id: "a".into() },
        text("a", "Loo"),
        text("a", "k:"),
        ModelPart::ToolInputStart { id: "1".into(), name: "look".into(), provider_executed: false },
        ModelPart::ToolInputStart { id: "2".into(), name: "find".into(), provider_executed: false },
        ModelPart::ToolInputDelta { id: "1".into(), delta: "{\"n\"".to_owned() },
        ModelPart::ToolInputDelta { id: "2".into(), delta: "{}".to_owned() },
        text("a", " there"),
        ModelPart::ToolInputDelta { id: "1".into(), delta: ":1}".to_owned() },
        ModelPart::ToolInputEnd { id: "1".into() },
        ModelPart::ToolInputEnd { id: "2".into() },
        ModelPart::TextEnd { id: "a".into(), metadata: metadata() },
        tool_call("1", "look", "{\"n\":1}"),
        tool_call("2", "find", "{}"),
        ModelPart::Item(Part::File {
            media_type: "image/png".into(),
            name: None,
            data: FileData::Base64("AAAABBBB".into()),
            metadata: metadata(),
        }),
        ModelPart::Item(Part::ToolResult {
            call_id: "s".into(),
            name: "search".into(),
            output: Output::text("found"),
            provider_executed: true,
            metadata: metadata(),
        }),
        ModelPart::Finish(Finish {
            reason: FinishReason::ToolCalls,
            usage: Usage { input: Some(7), ..Usage::default() },
            response_id: Some("resp_1".into()),
            metadata: metadata(),
        }),
    ]
}

fn tool_call(id: &str, name: &str, input: &str) -> ModelPart {
    ModelPart::ToolCall {
        id: id.into(),
        name: name.into(),
        input: input.to_owned(),
        provider_executed: false,
        metadata: Metadata::default(),
    }
}

#[tokio::test]
async fn every_part_passes_unchanged_and_is_counted_and_what_is_recorded_keeps_their_order() {
    let tape = Tape::new(Rigged::memory());
    let parts = tape.ask(Model::plays(each_part()), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    assert_eq!(parts, each_part());
    let (_, records) = tape.only(1).await;
    let metadata = records[0].outline.metadata.as_ref().expect("it has some");
    let metadata: serde_json::Value = metadata.decode().expect("ours");
    let expected = json!({
        "text_deltas": 3, "reasoning_deltas": 2, "tool_input_deltas": 3, "tool_calls": 2, "items": 2,
        "warnings": 1, "keep_alives": 1, "other_parts": 8,
    });
    assert_eq!(metadata["stream"], expected);
    let response = records[0].response.as_ref().expect("it was answered");
    let kinds: Vec<String> = response
        .content
        .iter()
        .map(|part| match part {
            Part::Reasoning { text, .. } => format!("thinks {text}"),
            Part::Text { text, .. } => format!("says {text}"),
            Part::ToolCall { name, input, .. } => format!("calls {name} {input}"),
            Part::File { data: FileData::Url(url), .. } => format!("shows {url}"),
            Part::ToolResult { name, .. } => format!("got {name}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "thinks Hm",
            "says Look: there",
            "calls look {\"n\":1}",
            "calls find {}",
            "shows about:6-bytes-left-out",
            "got search"
        ]
    );
    assert_eq!(response.doc.warnings, ["top_k has no place"]);
    assert_eq!(response.doc.response_id.as_deref(), Some("resp_1"));
    assert_eq!(response.doc.finish_reason, Some(FinishReason::ToolCalls));
}

#[tokio::test]
async fn a_recorded_model_is_the_model_that_it_records() {
    struct Own;
    impl LanguageModel for Own {
        fn id(&self) -> chatwright_core::model::ModelId {
            chatwright_core::model::ModelId { provider: "own".into(), model: "m".into() }
        }

        fn account(&self) -> Box<str> {
            "account".into()
        }

        fn context_window(&self) -> Option<u64> {
            Some(7)
        }

        fn stream(&self, _: chatwright_core::model::ModelCall) -> chatwright_core::port::ModelStream {
            futures::stream::empty().boxed()
        }
    }
    let tape = Tape::new(Rigged::memory());
    let model = tape.recorder.model(Arc::new(Own));
    assert_eq!((model.id(), model.account(), model.context_window()), (Own.id(), "account".into(), Some(7)));
}

#[tokio::test]
async fn what_a_step_took_is_the_sum_of_its_attempts() {
    let tape = Tape::new(Rigged::memory());
    let asked = |attempt| call(again(scope(chat(1), 3, 1), attempt), vec![said("Hi")]);
    // The provider ended the first one for an error of its own, and counts it.
    tape.ask(Model::plays(vec![finish(FinishReason::Error, 3, 1)]), asked(1)).await;
    tape.ask(Model::plays(answer("ok")), asked(2)).await;
    let (_, records) = tape.only(1).await;
    let usage: Usage = records[0].outline.usage.as_ref().expect("it says").decode().expect("ours");
    assert_eq!(usage, Usage { input: Some(13), output: Some(6), ..Usage::default() });
    assert_eq!(records[0].attempts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_gives_signs_of_life_and_what_nobody_goes_on_with_ends() {
    let tape = Tape::new(Rigged::memory());
    let mut long =
        tape.recorder.model(Model::stalls(block("Hm"))).stream(call(scope(chat(1), 3, 1), vec![said("Hi")]));
    long.next().await;
    let summary = CallScope::new(chat(2), user("ada"), Purpose::Compaction);
    tape.ask(Model::plays(vec![failed("boom")]), call(summary, vec![said("Hi")])).await;
    for _ in 0..10 {
        sleep(Duration::from_secs(150)).await;
        tape.bench.clock.advance(Duration::from_secs(150));
    }
    sleep(Duration::from_secs(150)).await;
    tape.flush().await;
    assert_eq!(tape.bench.service.sweep().await.expect("it answers"), (0, 0), "it is alive");
    let (run, records) = tape.bench.only(chat(1)).await;
    assert_eq!((run.status, run.updated_at), (DebugStatus::InProgress, at(1_500_000)));
    assert_eq!(records[0].outline.updated_at, at(1_500_000));
    let (run, _) = tape.bench.only(chat(2)).await;
    assert_eq!((run.status, run.finished_at), (DebugStatus::Error, Some(at(0))), "nobody tried it again");
    drop(long);
    sleep(Duration::from_secs(70 * 60)).await;
    tape.flush().await;
    let (run, _) = tape.bench.only(chat(1)).await;
    assert_eq!(run.status, DebugStatus::Interrupted, "nobody said anything of the turn for an hour");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_goes_also_where_more_is_written_than_a_purge_deletes() {
    let tape = Tape::new(Rigged::memory());
    for n in 0..1_500 {
        let mut run = DebugRun::new(RunId::from_uuid(Uuid::from_u128(n)), chat(1), RunKind::ChatTurn, at(0));
        run.status = DebugStatus::Completed;
        tape.bench.service.create_run(run).await.expect("it answers");
    }
    tape.bench.clock.advance(Duration::from_secs(31 * 24 * 60 * 60));
    sleep(Duration::from_secs(65 * 60)).await;
    tape.flush().await;
    assert_eq!(tape.bench.runs(chat(1)).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_hangs_holds_up_a_batch_and_not_each_of_its_rows() {
    struct Hangs;

    #[async_trait]
    impl Bus for Hangs {
        async fn publish(&self, _: &Topic, _: &[u8]) -> Result<(), BusError> {
            std::future::pending().await
        }

        async fn subscribe(&self, _: &Topic) -> Result<BusFrames, BusError> {
            std::future::pending().await
        }
    }

    let mut settings = DebugSettings::default();
    settings.forced = true;
    let bench = Bench::with(Rigged::memory(), settings, |service| service.with_bus(Arc::new(Hangs)));
    let tape = Tape::with(bench, RecorderSettings::default());
    let model = tape.recorder.model(Model::plays(answer("ok")));
    for n in 0..20 {
        model.stream(call(scope(chat(n), 3, 1), vec![said("Hi")])).collect::<Vec<_>>().await;
    }
    assert!(tape.recorder.flush(Duration::from_secs(150)).await, "it is written");
}

/// Counts requests.
struct Counts(AtomicUsize);

impl HttpObserver for Counts {
    fn request(&self, _: &HttpRequest<'_>) -> Box<dyn HttpExchange> {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("it is not asked here")
    }
}

#[tokio::test]
async fn a_call_keeps_the_observer_of_its_own_if_it_is_not_recorded() {
    let bench = Bench::with(Rigged::memory(), DebugSettings::default(), |service| service);
    let tape = Tape::with(bench, RecorderSettings::default());
    let own: Arc<dyn HttpObserver> = Arc::new(Counts(AtomicUsize::new(0)));
    let same = Arc::clone(&own);
    let model = Model::by(move |call| {
        assert!(call.transport.observer.is_some_and(|observer| Arc::ptr_eq(&observer, &same)));
        futures::stream::iter(answer("ok")).boxed()
    });
    let mut asked = call(scope(chat(1), 3, 1), vec![said("Hi")]);
    asked.transport.observer = Some(own);
    assert_eq!(tape.ask(model, asked).await, answer("ok"));
    assert!(record(&tape.bench.service, RecorderSettings::default()).flush(PATIENCE).await);
}

#[tokio::test]
async fn events_of_chats_that_are_not_recorded_take_no_room_and_write_nothing() {
    let mut settings = RecorderSettings::default();
    settings.queue_max = 1;
    let tape = Tape::with(Bench::new(Rigged::memory()), settings);
    tape.turn_ended(chat(1), None);
    tape.released(chat(1));
    tape.attempt_ended(chat(1), 1, AttemptEnd::Failed("x"));
    tape.recorder.observe(&Event::DoorbellFailed { chat: chat(1) });
    assert_eq!(tape.recorder.stats(), Default::default());
    tape.flush().await;
    assert_eq!(tape.bench.store.calls_made(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_ended_has_ended_when_it_did_however_late_it_is_written() {
    let tape = Tape::new(Rigged::memory());
    // The store takes its time.
    tape.bench.store.set_open(false);
    tape.ask(Model::plays(answer("ok")), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    tape.bench.clock.advance(Duration::from_secs(5));
    tape.turn_ended(chat(1), Some(StopReason::Complete));
    tape.bench.clock.advance(Duration::from_secs(600));
    tape.bench.store.set_open(true);
    tape.flush().await;
    let (run, records) = tape.bench.only(chat(1)).await;
    assert_eq!((run.started_at, run.finished_at), (at(0), Some(at(5_000))));
    assert_eq!(records[0].outline.finished_at, Some(at(0)));
    assert_eq!(Summary::from_json(&run.summary).duration_ms, Some(0));
}

#[tokio::test]
async fn a_retry_of_an_answer_that_was_none_joins_its_step() {
    let tape = Tape::new(Rigged::memory());
    // It came to its end, and said nothing: the loop asks again.
    let nothing = Model::plays(vec![finish(FinishReason::Stop, 3, 0)]);
    tape.ask(nothing, call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    tape.attempt_ended(chat(1), 1, AttemptEnd::Failed("empty_answer"));
    tape.ask(Model::plays(answer("ok")), call(again(scope(chat(1), 3, 2), 2), vec![said("Hi")])).await;
    let (_, records) = tape.only(1).await;
    assert_eq!((records.len(), records[0].attempts.len()), (1, 2));
    assert_eq!((records[0].outline.status, &records[0].outline.error), (DebugStatus::Completed, &None));
    assert_eq!(answer_of(&records[0]).as_deref(), Some("ok"));
}

/// What each call of a replayed run gives: its words, and how it ends, if it does.
async fn replayed(tape: &Tape, run: &DebugRun) -> Vec<(String, Option<FinishReason>, bool)> {
    let cassette = tape.bench.service.export(run.chat, run.id).await.expect("it is there");
    let (model, mut all) = (cassette.model(), Vec::new());
    while model.left() > 0 {
        let (mut words, mut reason, mut failed) = (String::new(), None, false);
        let mut stream = model.stream(call(scope(chat(9), 1, 1), vec![said("Hi")]));
        while let Some(Some(part)) = stream.next().now_or_never() {
            match part {
                ModelPart::TextDelta { delta, .. } => words += &delta,
                ModelPart::Finish(finish) => reason = Some(finish.reason),
                ModelPart::Failure(_) => failed = true,
                _ => {}
            }
        }
        all.push((words, reason, failed));
    }
    all
}

#[tokio::test]
async fn each_attempt_of_a_step_is_replayed_as_it_was_and_not_as_another() {
    let tape = Tape::new(Rigged::memory());
    // Cut off by the loop, which asks again.
    let mut cut = tape
        .recorder
        .model(Model::stalls(block("half")))
        .stream(call(scope(chat(1), 3, 1), vec![said("Hi")]));
    cut.next().await;
    cut.next().await;
    drop(cut);
    tape.attempt_ended(chat(1), 1, AttemptEnd::Failed("timeout"));
    tape.ask(Model::plays(vec![failed("boom")]), call(again(scope(chat(1), 3, 2), 2), vec![said("Hi")]))
        .await;
    let (run, _) = tape.only(1).await;
    assert_eq!(replayed(&tape, &run).await, [("half".to_owned(), None, false), (String::new(), None, true)]);
    // A whole answer that is an error, and then another one.
    let mut broken = block("broken");
    broken.push(finish(FinishReason::Error, 1, 1));
    tape.ask(Model::plays(broken), call(scope(chat(2), 3, 1), vec![said("Hi")])).await;
    tape.ask(Model::plays(answer("ok")), call(again(scope(chat(2), 3, 2), 2), vec![said("Hi")])).await;
    let (run, records) = tape.only(2).await;
    assert_eq!(records.len(), 1);
    let expected = [("broken", FinishReason::Error), ("ok", FinishReason::Stop)];
    let expected = expected.map(|(words, reason)| (words.to_owned(), Some(reason), false));
    assert_eq!(replayed(&tape, &run).await, expected);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_is_tried_as_often_as_everything_else() {
    let tape = Tape::new(Rigged::memory());
    tape.ask(Model::plays(answer("ok")), call(scope(chat(1), 3, 1), vec![said("Hi")])).await;
    tape.flush().await;
    let (store, refused) = (tape.bench.store.clone(), AtomicUsize::new(0));
    tape.bench.store.fails(move |called| {
        let is_end =
            called == Called::Write && matches!(store.writes().last(), Some(DebugWrite::UpdateRun { .. }));
        if is_end && refused.fetch_add(1, Ordering::SeqCst) < 2 { Fault::Refuses } else { Fault::None }
    });
    tape.turn_ended(chat(1), complete());
    let (run, _) = tape.only(1).await;
    assert_eq!(run.status, DebugStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_turn_whose_tool_took_hours_goes_on_with_its_whole_prompt() {
    let tape = Tape::new(Rigged::memory());
    let mut history = ValidHistory::from(vec![said("Hi")]);
    tape.ask(Model::plays(answer("one")), call(scope(chat(1), 3, 1), history.clone())).await;
    sleep(Duration::from_secs(2 * 60 * 60)).await;
    tape.flush().await;
    history.extend(vec![answered("one"), said("More")]).expect("valid");
    tape.ask(Model::plays(answer("two")), call(scope(chat(1), 3, 2), history)).await;
    tape.flush().await;
    let mut prompts = Vec::new();
    for run in tape.bench.runs(chat(1)).await {
        for step in tape.bench.records(chat(1), run.id).await {
            assert_eq!(step.problems, [""; 0]);
            prompts.push(prompt_of(&step));
        }
    }
    prompts.sort_unstable();
    assert_eq!(prompts, [vec!["Hi"], vec!["Hi", "one", "More"]]);
}
