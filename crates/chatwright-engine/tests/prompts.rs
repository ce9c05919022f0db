//! What a model is shown of a chat's records, whatever became of the chat.

mod table;

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::history::{Rule, ValidHistory};
use chatwright_core::model::{FinishReason, Message, ModelId, Role};
use chatwright_core::record::{
    ActionDecided, Body, CallResult, ContextCleared, Decision, HistoryCut, MessageAssistant, MessageSystem,
    MessageUser, PromptRepaired, ResultOrigin, StopReason, ToolResults, TurnEnded,
};
use chatwright_core::tool::Effect;
use chatwright_core::{Draft, Gen, MessageId, OpId, Record, Seq, Timestamp, Uuid};
use chatwright_engine::{Busy, Command, Edit, History, Input, Item, Report, Stopped, Work};
use proptest::prelude::*;
use serde_json::json;

use table::*;

fn signed() -> Metadata {
    Metadata::from([("p".into(), json!({"signature": "s"}))])
}

fn run(id: &str) -> Part {
    let (id, name, input) = (id.into(), "search".into(), "{}".to_owned());
    Part::ToolCall { id, name, input, provider_executed: true, metadata: signed() }
}

fn found(id: &str) -> Part {
    let (call_id, name, output) = (id.into(), "search".into(), Output::text("cats"));
    Part::ToolResult { call_id, name, output, provider_executed: true, metadata: signed() }
}

/// What a model may answer; ids of calls and runs come again and again.
fn any_answer() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![
        Just(vec![Part::text("So.")]),
        Just(vec![Part::text("One."), Part::text("\n"), Part::text("Two.")]),
        Just(vec![Part::text(" ")]),
        Just(vec![Part::Reasoning { text: "Hm.".to_owned(), metadata: Metadata::new() }]),
        Just(vec![Part::Reasoning { text: String::new(), metadata: signed() }]),
        Just(vec![call(0)]),
        Just(vec![call(0), call(1)]),
        Just(vec![run("s"), found("s")]),
        Just(vec![run("s")]),
        Just(vec![found("s")]),
        Just(vec![Part::Unknown(json!({"type": "novel"}))]),
    ];
    proptest::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

#[derive(Clone, Debug)]
enum Happens {
    Answer(Vec<Part>, FinishReason),
    Result,
    Results,
    Send,
    SendInterrupting,
    Interrupt,
    Stopped(Vec<Part>),
    Edit(usize),
    Crash,
    Claim,
}

fn anything() -> impl Strategy<Value = Happens> {
    let reason = prop_oneof![
        3 => Just(FinishReason::ToolCalls),
        1 => Just(FinishReason::Stop),
        1 => Just(FinishReason::Pause),
        1 => Just(FinishReason::Length),
    ];
    prop_oneof![
        6 => (any_answer(), reason).prop_map(|(content, reason)| Happens::Answer(content, reason)),
        2 => Just(Happens::Result),
        2 => Just(Happens::Results),
        2 => Just(Happens::Send),
        1 => Just(Happens::SendInterrupting),
        1 => Just(Happens::Interrupt),
        2 => any_answer().prop_map(Happens::Stopped),
        1 => (0..4_usize).prop_map(Happens::Edit),
        1 => Just(Happens::Crash),
        4 => Just(Happens::Claim),
    ]
}

/// What does not fit the state of the chat does nothing.
fn happen(table: &mut Table, what: Happens) {
    let made = match what {
        Happens::Answer(content, reason) => {
            let answer = table.answer(content, reason, Effect::Pure);
            table.work(answer)
        }
        Happens::Result => {
            let results = table.results(&[0]);
            table.work(results)
        }
        Happens::Results => {
            let results = table.results(&[0, 1, 2, 3]);
            table.work(results)
        }
        Happens::Send => table.send(Busy::Queue),
        Happens::SendInterrupting => table.send(Busy::Interrupt),
        Happens::Interrupt => table.interrupt(None),
        Happens::Stopped(mut content) => {
            content.retain(|part| !matches!(part, Part::ToolCall { provider_executed: false, .. }));
            let next = table.next();
            let (model, report, results) = (next.model.clone(), Report::default(), Vec::new());
            let stopped = Stopped { content, model, report, off: 3, results, next };
            table.work(Work::Stopped(Box::new(stopped)))
        }
        Happens::Edit(n) => {
            let is_user = |item: &&(Seq, Item)| matches!(item.1, Item::User(_));
            let Some((seq, _)) = table.history.items().iter().filter(is_user).nth(n) else { return };
            let (seq, message) = (*seq, MessageId::from_uuid(table.id()));
            let content = vec![Part::text("anew")];
            let (author, model, effort, key) = (None, None, None, None);
            let edit = Edit { seq, content, message, author, model, effort, key };
            let op = table.op();
            table.feed(Input::Command(op, Command::Edit(edit)))
        }
        Happens::Crash => table.free(ME),
        Happens::Claim => table.claim(),
    };
    drop(made);
}

fn is_asked(table: &Table) -> bool {
    let state = &table.chat().state;
    state.open.is_some() && state.calls_in.is_none()
}

/// Everything that was said since somebody spoke last.
fn turn(prompt: &[Message]) -> usize {
    prompt.iter().rposition(|message| message.role == Role::User).map_or(0, |at| at + 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// W31: a repair is stored before the model is asked, and the next one finds nothing left to do.
    #[test]
    fn only_what_a_provider_left_half_done_is_repaired_and_only_once(all in proptest::collection::vec(anything(), 1..40)) {
        let mut table = Table::claimed();
        table.rules.steps_max = 99;
        let mut before: Option<Vec<Message>> = None;
        for what in all {
            let speaks = matches!(what, Happens::Edit(_));
            happen(&mut table, what);
            if speaks || !is_asked(&table) {
                before = before.filter(|_| !speaks);
                continue;
            }
            let prompt = table.history.prompt();
            for repair in ValidHistory::repair(prompt).1 {
                prop_assert!(repair.rules.iter().all(|rule| *rule == Rule::RunsAreWhole), "{repair:?}");
            }
            let (sent, repaired) = table.history.valid();
            if let Some(repaired) = repaired {
                table.work(Work::Repaired(repaired.clone())).expect("the attempt is open");
                prop_assert!(stale(table.work(Work::Repaired(repaired))), "and once");
            }
            prop_assert_eq!(table.history.valid(), (sent.clone(), None));
            if let Some(before) = before
                && turn(&before) == turn(&sent)
            {
                prop_assert!(sent.starts_with(&before), "{sent:#?} does not begin with {before:#?}");
            }
            before = Some(sent.into_messages());
        }
    }
}

proptest! {
    /// W18: what is built of the new entries alone is what is built of all.
    #[test]
    fn what_a_prompt_has_gained_is_told_whenever_it_was_built_last(all in proptest::collection::vec(anything(), 1..40)) {
        let mut table = Table::claimed();
        table.rules.steps_max = 99;
        let mut marks = vec![(table.history.mark(), table.history.prompt())];
        for what in all {
            happen(&mut table, what);
            let prompt = table.history.prompt();
            for (mark, before) in &marks {
                if let Some(added) = table.history.added(mark) {
                    prop_assert_eq!(&[before.clone(), added].concat(), &prompt);
                }
            }
            marks.push((table.history.mark(), prompt));
        }
    }
}

/// A log that another version, or a host, has written.
fn fold(history: &mut History, bodies: Vec<Body>) {
    for body in bodies {
        let seq = history.through().next();
        let op = OpId::from_uuid(Uuid::from_u128(seq.get().into()));
        let draft = Draft::first(op, Timestamp::from_millis(1), &body).expect("within the bounds");
        let record = Record { seq, kind: draft.kind().clone(), body: draft.body().clone() };
        history.fold(&record).expect("a record of ours");
    }
}

fn said(n: u128, text: &str) -> Body {
    Body::MessageUser(MessageUser::new(MessageId::from_uuid(Uuid::from_u128(n)), vec![Part::text(text)]))
}

fn answered(n: u128, content: Vec<Part>) -> Body {
    let (id, model) =
        (MessageId::from_uuid(Uuid::from_u128(n)), ModelId { provider: "p".into(), model: "m".into() });
    MessageAssistant { id, r#gen: Gen::new(1), content, model, interrupted: false, response_id: None }.into()
}

fn shows(text: &str) -> Message {
    Message::new(Role::User, vec![Part::text(text)])
}

/// W31.
#[test]
fn what_was_repaired_once_stays_as_it_was_sent_whatever_the_rules_are_later() {
    let mut history = History::default();
    let torn = answered(2, vec![run("s"), Part::text("So.")]);
    fold(&mut history, vec![said(1, "Look"), torn, said(3, "And?"), said(4, " ")]);
    let (sent, repaired) = history.valid();
    let said_so = Message::new(Role::Assistant, vec![Part::text("So.")]);
    assert_eq!(sent.messages(), [shows("Look"), said_so.clone(), shows("And?")]);
    let repaired = repaired.expect("two messages were repaired");
    let words = |messages: &[Message]| serde_json::to_string(messages).expect("messages encode").into();
    let repairs = [(2, words(std::slice::from_ref(&said_so))), (4, words(&[]))].into();
    assert_eq!(repaired, PromptRepaired { rules: ValidHistory::RULES, repairs });

    // Rules that are not these had put something else there, and a note says nothing of what is sent.
    let others = Message::new(Role::Assistant, vec![Part::text("[a search was stopped]"), Part::text("So.")]);
    let mut older = history.clone();
    let repairs = [(2, words(std::slice::from_ref(&others))), (3, "looked well".into())].into();
    fold(&mut older, vec![PromptRepaired { rules: 0, repairs }.into()]);
    let (sent, rest) = older.valid();
    assert_eq!(sent.messages(), [shows("Look"), others, shows("And?")]);
    assert_eq!(rest.expect("the blank message").repairs.into_keys().collect::<Vec<_>>(), [4]);

    // A cut takes the repair with it, and what it leaves is repaired by the rules of its time.
    fold(
        &mut older,
        vec![Body::HistoryCut(HistoryCut {
            from: Seq::new(5),
            message: None,
            content_hash: None,
            key: None,
        })],
    );
    assert_eq!(older.valid(), history.valid());
}

/// W10: the user saw it, and the model must not go on as if it had been heard out.
#[test]
fn why_a_turn_ended_with_less_than_an_answer_is_told_with_the_users_next_words() {
    let ended = |reason| -> Body { TurnEnded { reason }.into() };
    let so = || answered(2, vec![Part::text("So")]);
    let shown = |bodies: Vec<Body>| {
        let mut history = History::default();
        fold(&mut history, [vec![said(1, "Look")], bodies].concat());
        let prompt = history.prompt();
        let last = prompt.last().expect("a message").clone();
        assert_eq!(history.valid(), (ValidHistory::check(prompt).expect("valid as it is"), None));
        let words = last.content.iter().map(|part| match part {
            Part::Text { text, .. } => text.clone(),
            other => panic!("{other:?}"),
        });
        words.collect::<Vec<_>>()
    };
    for (reason, told) in [
        (StopReason::StepLimit, Some("as many steps as a turn may have")),
        (StopReason::Length, Some("the limit of its length")),
        (StopReason::OutputLimit, Some("the limit of its length")),
        (StopReason::ContentFilter, Some("a content filter")),
        (StopReason::Empty, Some("without an answer")),
        (StopReason::Interrupted, Some("stopped by the user")),
        (StopReason::Complete, None),
        (StopReason::StopAfterTool, None),
        (StopReason::Compacted, None),
    ] {
        for said_before in [vec![so()], vec![]] {
            let words = shown([said_before, vec![ended(reason), said(3, "And?")]].concat());
            let Some(told) = told else {
                assert_eq!(words, ["And?"], "{reason:?}");
                continue;
            };
            assert!(
                words.len() == 2 && words[0].contains(told) && words[1] == "And?",
                "{reason:?}: {words:?}"
            );
        }
    }
    let stopped = || ended(StopReason::Interrupted);
    let later = shown(vec![so(), stopped(), said(3, "And?"), said(4, "Well?")]);
    assert_eq!(later, ["Well?"], "once");
    let summary = shown(vec![so(), ended(StopReason::Complete), stopped(), said(3, "And?")]);
    assert_eq!(summary, ["And?"], "what was stopped was no answer");
    let cut = |from| {
        Body::HistoryCut(HistoryCut { from: Seq::new(from), message: None, content_hash: None, key: None })
    };
    let edited = shown(vec![so(), stopped(), said(3, "And?"), cut(4), said(5, "Well?")]);
    assert!(edited.len() == 2 && edited[1] == "Well?", "what follows the stop is said anew: {edited:?}");
    assert_eq!(shown(vec![so(), stopped(), cut(1), said(5, "Well?")]), ["Well?"], "the turn is gone");
    let cleared = ContextCleared { from: Seq::new(4), key: None }.into();
    assert_eq!(
        shown(vec![so(), stopped(), cleared, said(5, "Well?")]),
        ["Well?"],
        "it is not shown any more"
    );
}

/// W18.
#[test]
fn what_is_said_and_done_adds_to_a_prompt_and_what_happens_to_older_things_builds_it_anew() {
    let mut history = History::default();
    fold(&mut history, vec![said(1, "Look"), answered(2, vec![call(0)])]);
    let asked = history.mark();
    let results = |message: u128| -> Body {
        let output = Output::text("here");
        let results = vec![CallResult { ordinal: 0, output, origin: ResultOrigin::default() }];
        let message = MessageId::from_uuid(Uuid::from_u128(message));
        ToolResults { r#gen: None, message, results, key: None }.into()
    };
    fold(&mut history, vec![results(2)]);
    assert_eq!(history.added(&asked), None, "a call before it was answered");
    let step = history.mark();
    fold(
        &mut history,
        vec![answered(3, vec![Part::text("So.")]), said(4, "And?"), answered(5, vec![call(0)])],
    );
    let edited = ActionDecided {
        message: MessageId::from_uuid(Uuid::from_u128(5)),
        ordinal: 0,
        decision: Decision::Approve { input: Some("{}".into()) },
        by: None,
        key: None,
    };
    fold(&mut history, vec![edited.clone().into(), results(5)]);
    let added = history.added(&step).expect("all of it is new");
    assert_eq!(added[..2], [Message::new(Role::Assistant, vec![Part::text("So.")]), shows("And?")]);
    assert_eq!(added.len(), 4, "a call and its result too");
    assert_eq!(history.added(&history.mark()), Some(vec![]));

    for (what, body) in [
        (
            "arguments of an older call",
            ActionDecided { message: MessageId::from_uuid(Uuid::from_u128(2)), ..edited }.into(),
        ),
        (
            "instructions",
            MessageSystem {
                id: MessageId::from_uuid(Uuid::from_u128(9)),
                content: vec![Part::text("Be brief.")],
            }
            .into(),
        ),
        ("a cut", HistoryCut { from: Seq::new(3), message: None, content_hash: None, key: None }.into()),
        ("cleared context", ContextCleared { from: Seq::new(3), key: None }.into()),
        ("a repair", PromptRepaired { rules: 1, repairs: [(1, "[]".into())].into() }.into()),
    ] {
        let (mut history, mark) = (history.clone(), history.mark());
        fold(&mut history, vec![body]);
        assert_eq!(history.added(&mark), None, "{what}");
    }
}

#[test]
fn a_repair_that_fits_no_record_is_made_anew_each_time() {
    let mut history = History::default();
    let large = |n| answered(n, vec![Part::text("x".repeat(600_000)), run("s")]);
    fold(&mut history, vec![said(1, "Look"), large(2), said(3, "And?"), large(4), said(5, "So?")]);
    let (sent, repaired) = history.valid();
    let repaired = repaired.expect("two messages were repaired");
    assert_eq!(repaired.repairs.keys().copied().collect::<Vec<_>>(), [2]);
    fold(&mut history, vec![repaired.into()]);
    let (again, rest) = history.valid();
    assert_eq!(again, sent);
    assert_eq!(rest.map(|rest| rest.repairs.into_keys().collect::<Vec<_>>()), Some(vec![4]));
}
