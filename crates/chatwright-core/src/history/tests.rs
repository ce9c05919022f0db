use proptest::prelude::*;
use serde_json::json;

use super::mend::mend;
use super::*;
use crate::content::{FileData, Metadata, Output};
use crate::model::Role::{self, Assistant, System, Tool, User};

fn says(role: Role, text: &str) -> Message {
    Message::new(role, vec![Part::text(text)])
}

fn signed() -> Metadata {
    Metadata::from([("p".into(), json!({"signature": "s"}))])
}

fn calls(id: &str) -> Part {
    let (id, name, input) = (id.into(), "look".into(), "{}".to_owned());
    Part::ToolCall { id, name, input, provider_executed: false, metadata: Metadata::new() }
}

fn gives(id: &str, text: &str) -> Part {
    let (call_id, name, output) = (id.into(), "look".into(), Output::text(text));
    Part::ToolResult { call_id, name, output, provider_executed: false, metadata: Metadata::new() }
}

fn runs(id: &str, name: &str, input: &str) -> Part {
    let (id, name, input) = (id.into(), name.into(), input.to_owned());
    Part::ToolCall { id, name, input, provider_executed: true, metadata: signed() }
}

fn found(id: &str, text: &str) -> Part {
    let (call_id, name, output) = (id.into(), "web_search".into(), Output::text(text));
    Part::ToolResult { call_id, name, output, provider_executed: true, metadata: signed() }
}

fn missing(id: &str) -> Part {
    let (call_id, name) = (id.into(), "look".into());
    let output = Output::error("There is no result: the call was not run.");
    Part::ToolResult { call_id, name, output, provider_executed: false, metadata: Metadata::new() }
}

fn repaired(messages: Vec<Message>) -> Vec<Message> {
    ValidHistory::repair(messages).0.into_messages()
}

#[test]
fn every_rule_that_is_broken_is_named_and_the_repair_mends_it() {
    // What is wrong, by which rule, in which message, and what becomes of it.
    type Row = (&'static str, Rule, usize, Vec<Message>, Vec<Message>);
    let answer = |parts: Vec<Part>| Message::new(Assistant, parts);
    let results = |parts: Vec<Part>| Message::new(Tool, parts);
    let unsigned = Part::Reasoning { text: "Hm.".to_owned(), metadata: Metadata::new() };
    let kept = |text: &str| says(User, &format!("A result of the tool look: {text}"));
    let misnamed = Part::ToolResult {
        call_id: "a".into(),
        name: "find".into(),
        output: Output::text("1"),
        provider_executed: false,
        metadata: Metadata::new(),
    };
    let table: Vec<Row> = vec![
        (
            "late instructions",
            Rule::InstructionsFirst,
            2,
            vec![says(System, "1"), says(User, "Hi"), says(System, "2")],
            vec![says(System, "1"), says(System, "2"), says(User, "Hi")],
        ),
        (
            "a blank text",
            Rule::NothingBlank,
            1,
            vec![says(User, "Hi"), answer(vec![Part::text(" "), Part::text("Yes.")])],
            vec![says(User, "Hi"), says(Assistant, "Yes.")],
        ),
        (
            "an empty message",
            Rule::NothingBlank,
            1,
            vec![says(User, "Hi"), answer(vec![])],
            vec![says(User, "Hi")],
        ),
        (
            "an unsigned thought",
            Rule::ThoughtsAreSigned,
            0,
            vec![answer(vec![unsigned, Part::text("Yes.")])],
            vec![says(Assistant, "Yes.")],
        ),
        (
            "a call without a result at the end",
            Rule::CallsAreAnswered,
            0,
            vec![answer(vec![calls("a")])],
            vec![answer(vec![calls("a")]), results(vec![missing("a")])],
        ),
        (
            "one of two calls without a result",
            Rule::CallsAreAnswered,
            1,
            vec![answer(vec![calls("a"), calls("b")]), results(vec![gives("b", "2")]), says(User, "Hi")],
            vec![
                answer(vec![calls("a"), calls("b")]),
                results(vec![missing("a"), gives("b", "2")]),
                says(User, "Hi"),
            ],
        ),
        (
            "results in another order",
            Rule::CallsAreAnswered,
            1,
            vec![
                answer(vec![calls("a"), calls("b")]),
                results(vec![gives("b", "2")]),
                results(vec![gives("a", "1")]),
            ],
            vec![
                answer(vec![calls("a"), calls("b")]),
                results(vec![gives("a", "1")]),
                results(vec![gives("b", "2")]),
            ],
        ),
        (
            "a result behind a user's message",
            Rule::CallsAreAnswered,
            1,
            vec![answer(vec![calls("a")]), says(User, "And?"), results(vec![gives("a", "1")])],
            vec![answer(vec![calls("a")]), results(vec![gives("a", "1")]), says(User, "And?")],
        ),
        (
            "a result under another name",
            Rule::CallsAreAnswered,
            1,
            vec![answer(vec![calls("a")]), results(vec![misnamed])],
            vec![answer(vec![calls("a")]), results(vec![gives("a", "1")])],
        ),
        (
            "a result of no call",
            Rule::ResultsAnswerCalls,
            1,
            vec![says(User, "Hi"), results(vec![gives("x", "lost")]), says(Assistant, "Yes.")],
            vec![says(User, "Hi"), kept("lost"), says(Assistant, "Yes.")],
        ),
        (
            "a second result of a call",
            Rule::ResultsAnswerCalls,
            1,
            vec![answer(vec![calls("a")]), results(vec![gives("a", "1"), gives("a", "2"), gives("a", " ")])],
            vec![answer(vec![calls("a")]), results(vec![gives("a", "1")]), kept("2")],
        ),
        (
            "a result among what a user said",
            Rule::CallsAreAnswered,
            1,
            vec![
                answer(vec![calls("a")]),
                Message::new(User, vec![gives("a", "1"), Part::text("And?"), gives("b", "2")]),
            ],
            vec![
                answer(vec![calls("a")]),
                results(vec![gives("a", "1")]),
                Message::new(User, vec![Part::text("And?"), Part::text("A result of the tool look: 2")]),
            ],
        ),
        (
            "words among results",
            Rule::PartsInTheirPlace,
            1,
            vec![answer(vec![calls("a")]), results(vec![Part::text("So:"), gives("a", "1")])],
            vec![answer(vec![calls("a")]), results(vec![gives("a", "1")]), says(User, "So:")],
        ),
        (
            "a call of a user",
            Rule::PartsInTheirPlace,
            0,
            vec![Message::new(User, vec![calls("a")])],
            vec![says(User, "A call of the tool look: {}")],
        ),
    ];
    for (name, rule, at, broken, expected) in table {
        assert_eq!(ValidHistory::check(broken.clone()), Err(Invalid { at, rule }), "{name}");
        let (history, repairs) = ValidHistory::repair(broken);
        assert_eq!(history.messages(), expected, "{name}");
        assert!(!repairs.is_empty(), "{name}");
        assert_eq!(ValidHistory::check(expected).map_err(|error| error.to_string()), Ok(history), "{name}");
    }
}

/// C3.
#[test]
fn what_a_provider_ran_is_whole_in_one_answer_or_absent() {
    let answer = |parts: Vec<Part>| Message::new(Assistant, parts);
    let run = |id: &str| runs(id, "web_search", r#"{"q":1}"#);
    let whole = vec![run("s"), found("s", "cats"), Part::text("So.")];
    let text = |text: &str| Part::text(text);
    let table = [
        ("a whole one", whole.clone(), whole),
        ("a result alone", vec![found("s", "cats")], vec![text("cats")]),
        ("a result that says nothing, alone", vec![found("s", " "), text("So.")], vec![text("So.")]),
        ("a call alone", vec![run("s"), text("So.")], vec![text("So.")]),
        ("the result before the call", vec![found("s", "cats"), run("s")], vec![text("cats")]),
        ("no JSON", vec![runs("s", "web_search", r#"{"q":"#), found("s", "cats")], vec![text("cats")]),
        ("no id", vec![run(""), found("", "cats")], vec![text("cats")]),
        ("no name", vec![runs("s", "", "{}"), found("s", "cats")], vec![text("cats")]),
        (
            "an id that comes again",
            vec![run("s"), found("s", "cats"), run("s"), found("s", "dogs")],
            vec![run("s"), found("s", "cats"), text("dogs")],
        ),
    ];
    for (name, said, expected) in table {
        let sent = repaired(vec![answer(said), says(User, "And?")]);
        assert_eq!(sent, [answer(expected), says(User, "And?")], "{name}");
    }
    // Local calls are none of this.
    let local = vec![answer(vec![calls("a"), run("s")]), Message::new(Tool, vec![gives("a", "1")])];
    let open = repaired(local.clone());
    assert_eq!(open, local, "the provider may still run it: a program that waits for the result of a call");
    let torn = repaired([local, vec![says(User, "Stop")]].concat());
    assert_eq!(torn[0], answer(vec![calls("a")]));
    // A long answer goes on in the next message.
    let paused = vec![answer(vec![run("s")]), answer(vec![found("s", "cats")]), says(User, "And?")];
    assert_eq!(repaired(paused.clone()), paused);
    // The id of a torn call is free again.
    let again = vec![
        answer(vec![run("s"), text("So.")]),
        says(User, "And?"),
        answer(vec![run("s"), found("s", "cats")]),
    ];
    let sent = repaired(again.clone());
    assert_eq!(sent, [vec![answer(vec![text("So.")])], again[1..].to_vec()].concat());
}

/// W16.
#[test]
fn a_blank_part_that_a_provider_signed_is_never_dropped() {
    let parts = vec![
        Part::Reasoning { text: String::new(), metadata: signed() },
        Part::Text { text: " ".to_owned(), metadata: signed() },
    ];
    let messages = vec![says(User, "Hi"), Message::new(Assistant, parts), says(User, "")];
    assert_eq!(repaired(messages.clone()), messages[..2]);
}

/// W17.
#[test]
fn metadata_that_nobody_here_knows_goes_through_beside_metadata_that_is_known() {
    let metadata = Metadata::from([
        ("anthropic".into(), json!({"signature": "s", "novel": {"deep": [1, null]}})),
        ("somebody".into(), json!("odd")),
    ]);
    let thought = Part::Reasoning { text: "Hm.".to_owned(), metadata };
    let novel = Part::Unknown(json!({"type": "novel", "beams": 2}));
    let stored = serde_json::to_string(&Message::new(Assistant, vec![thought, novel, Part::text("")]));
    let read: Message = serde_json::from_str(&stored.expect("messages encode")).expect("messages decode");
    let sent = repaired(vec![read.clone()]);
    assert_eq!(*sent[0].content, read.content[..2]);
}

#[test]
fn white_space_between_two_texts_stays_between_them() {
    let content = |texts: &[(&str, bool)]| {
        let part = |&(text, is_signed): &(&str, bool)| {
            let metadata = if is_signed { signed() } else { Metadata::new() };
            Part::Text { text: text.to_owned(), metadata }
        };
        texts.iter().map(part).collect::<Vec<_>>()
    };
    for (said, expected) in [
        (
            &[("One.", false), (" ", false), ("\n", false), ("Two.", false)][..],
            &[("One.", false), (" \nTwo.", false)][..],
        ),
        (&[("One.", false), (" ", false), ("Two.", true)], &[("One. ", false), ("Two.", true)]),
        (&[("One.", true), (" ", false), ("Two.", true)], &[("One.", true), ("Two.", true)]),
        (&[(" ", false), ("One.", false), (" ", false)], &[("One.", false)]),
    ] {
        assert_eq!(sent_back(&content(said)), content(expected), "{said:?}");
    }
    let apart = [Part::text("One."), Part::text(" "), calls("a"), Part::text("Two.")];
    assert_eq!(sent_back(&apart), [Part::text("One."), calls("a"), Part::text("Two.")]);
}

#[test]
fn a_call_whose_arguments_are_no_object_stays_as_the_model_wrote_it() {
    let mut call = calls("a");
    if let Part::ToolCall { input, .. } = &mut call {
        *input = "{\"at\":".to_owned();
    }
    let messages = vec![Message::new(Assistant, vec![call]), Message::new(Tool, vec![gives("a", "1")])];
    assert_eq!(repaired(messages.clone()), messages);
}

#[test]
fn ten_thousand_broken_answers_are_repaired_in_linear_time() {
    let broken = || vec![Message::new(Assistant, vec![calls("a"), runs("s", "x", "{}")]), says(User, "x")];
    let messages: Vec<Message> = (0..10_000).flat_map(|_| broken()).collect();
    assert_eq!(ValidHistory::repair(messages).1.len(), 10_000);
}

/// Any messages; every part bears a number of its own, in its words and in its metadata if it has any.
fn any_messages(longest: usize) -> impl Strategy<Value = Vec<Message>> {
    let part = (0..14_u8, 0..3_usize, any::<bool>(), 0..4_u8);
    let message = (0..8_u8, proptest::collection::vec(part, 0..5));
    proptest::collection::vec(message, 0..longest).prop_map(|messages| {
        let mut number = 0;
        let messages = messages.into_iter().map(|(role, parts)| {
            // Mostly answers and results, so that many of them belong together.
            let role = [System, User, User, Assistant, Assistant, Assistant, Tool, Tool][usize::from(role)];
            let parts = parts.into_iter().map(|part| {
                number += 1;
                any_part(number, part)
            });
            Message::new(role, parts)
        });
        messages.collect()
    })
}

fn any_part(number: u32, (kind, id, is_signed, blank): (u8, usize, bool, u8)) -> Part {
    let metadata = match is_signed {
        true => Metadata::from([("p".into(), json!({"mark": format!("m{number}m")}))]),
        false => Metadata::new(),
    };
    let text = if blank == 0 { [" ", "", "\n"][id].to_owned() } else { format!("w{number}w") };
    let id: Box<str> = ["a", "b", ""][id].into();
    let name: Box<str> = "look".into();
    match kind {
        0..=2 => Part::Text { text, metadata },
        3 => Part::Reasoning { text, metadata },
        4 | 5 => Part::ToolCall { id, name, input: text, provider_executed: false, metadata },
        6 | 7 => {
            let input = format!("{{\"n\":\"{number}\"}}{}", if blank == 1 { "," } else { "" });
            Part::ToolCall { id, name, input, provider_executed: true, metadata }
        }
        8 | 9 => {
            let output = if is_signed { Output::text(text) } else { Output::error(text) };
            Part::ToolResult { call_id: id, name, output, provider_executed: false, metadata }
        }
        10 | 11 => {
            let output = Output::text(text);
            Part::ToolResult { call_id: id, name, output, provider_executed: true, metadata }
        }
        12 => Part::File {
            media_type: "image/png".into(),
            name: Some(format!("w{number}w").into()),
            data: FileData::Base64("AA==".into()),
            metadata,
        },
        _ => Part::Unknown(json!({"type": "novel", "words": format!("w{number}w")})),
    }
}

fn parts(messages: &[Message]) -> impl Iterator<Item = (Role, &Part)> {
    messages.iter().flat_map(|message| message.content.iter().map(|part| (message.role, part)))
}

/// The number words of a part, as they are written in it.
fn marks(text: &str, letter: char) -> Vec<String> {
    // Line ends are letters in JSON.
    let text = text.replace("\\n", " ");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_mark = |word: &&str| word.len() > 2 && word.starts_with(letter) && word.ends_with(letter);
    words.filter(is_mark).map(str::to_owned).collect()
}

fn encoded(part: &Part) -> String {
    serde_json::to_string(part).expect("parts encode")
}

/// Whether a part is of those that a repair may drop, with what a provider attached to it.
fn is_tool_part(part: &Part) -> bool {
    matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// C4: what comes out of the repair passes the checks, which do not know how it was made.
    #[test]
    fn what_was_repaired_is_valid_and_stays_as_it_is(messages in any_messages(12)) {
        let (history, repairs) = ValidHistory::repair(messages.clone());
        prop_assert_eq!(ValidHistory::check(history.messages().to_vec()), Ok(history.clone()));
        prop_assert_eq!(mend(history.messages()), (history.messages().to_vec(), vec![]));
        prop_assert_eq!(repairs.is_empty(), ValidHistory::check(messages.clone()).is_ok());
        prop_assert_eq!(ValidHistory::repair(messages), (history, repairs));
    }

    /// W18: to go on behind a history only what is new is looked at, and it is the same as to look at everything.
    #[test]
    fn a_history_takes_in_what_would_be_valid_as_a_whole_and_nothing_else(
        before in any_messages(8),
        more in any_messages(4),
        mended in any::<bool>(),
    ) {
        let (mut history, _) = ValidHistory::repair(before);
        let more = if mended { repaired(more) } else { more };
        let (shared, was) = (history.clone(), history.messages().to_vec());
        let whole = ValidHistory::check([was.clone(), more.clone()].concat());
        let extended = history.extend(more.clone());
        prop_assert_eq!(shared.messages(), &was, "what others hold stays as it is");
        prop_assert_eq!(extended.map(|()| history.clone()), whole);
        if extended.is_err() {
            prop_assert_eq!(history.messages(), &was);
        }
        // It remembers what it must, whatever came of it.
        let whole = ValidHistory::check([history.messages().to_vec(), more.clone()].concat());
        prop_assert_eq!(history.extend(more).map(|()| history), whole);
    }

    #[test]
    fn repairs_put_in_the_place_of_what_was_given_make_what_came_out(messages in any_messages(12)) {
        let (history, repairs) = ValidHistory::repair(messages.clone());
        let mut put_in = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            match repairs.iter().find(|repair| repair.at == at) {
                Some(repair) => put_in.extend(repair.becomes.clone()),
                None => put_in.push(message.clone()),
            }
        }
        prop_assert_eq!(put_in, history.into_messages());
    }

    #[test]
    fn nothing_with_metadata_is_lost_but_halves_and_results_without_a_call(messages in any_messages(12)) {
        let sent: String = parts(&repaired(messages.clone())).map(|(_, part)| encoded(part)).collect();
        let has = marks(&sent, 'm');
        for (role, part) in parts(&messages) {
            let local = matches!(part, Part::ToolCall { provider_executed: false, .. }) && role == Assistant;
            if local || !is_tool_part(part) {
                for mark in marks(&encoded(part), 'm') {
                    prop_assert!(has.contains(&mark), "{part:?}");
                }
            }
        }
    }

    #[test]
    fn no_words_are_lost_but_those_of_thoughts_that_nobody_signed(messages in any_messages(12)) {
        let sent: String = parts(&repaired(messages.clone())).map(|(_, part)| encoded(part)).collect();
        let has = marks(&sent, 'w');
        for (_, part) in parts(&messages) {
            let unsigned = matches!(part, Part::Reasoning { metadata, .. } if metadata.is_empty());
            for word in marks(&encoded(part), 'w') {
                prop_assert!(unsigned || has.contains(&word), "{part:?}");
                prop_assert!(has.iter().filter(|had| **had == word).count() <= 1, "twice: {part:?}");
            }
        }
    }

    /// Without it a provider could not read what it has cached.
    #[test]
    fn what_comes_later_changes_nothing_of_what_was_sent(before in any_messages(8), after in any_messages(8)) {
        let before = [before, vec![says(User, "And?")]].concat();
        let (first, _) = ValidHistory::repair(before.clone());
        let later = after.into_iter().filter(|message| message.role != System);
        let whole = before.into_iter().chain([says(Assistant, "So.")]).chain(later).collect();
        let whole = repaired(whole);
        prop_assert!(whole.starts_with(first.messages()), "{whole:#?} does not begin with {first:#?}");
    }
}

#[test]
fn what_a_history_grew_by_is_known_as_long_as_it_is_the_same() {
    let said = |text: &str| Message::new(User, vec![Part::text(text)]);
    let mut history = ValidHistory::check(vec![said("a")]).expect("valid");
    let then = history.grown();
    assert_eq!(history.since(then), Some(&[][..]));
    history.extend(vec![said("b")]).expect("valid");
    assert_eq!(history.since(then), Some(&[said("b")][..]));
    assert_eq!(history.clone().since(then), Some(&[said("b")][..]), "a clone is the same");
    // Two that part from here have other messages at one place.
    let mut other = history.clone();
    other.extend(vec![said("c")]).expect("valid");
    assert_eq!(other.since(then), None);
    history.extend(vec![said("d")]).expect("valid");
    assert_eq!(history.since(then), Some(&[said("b"), said("d")][..]));
    assert_eq!(ValidHistory::check(vec![said("a")]).expect("valid").since(then), None);
}
