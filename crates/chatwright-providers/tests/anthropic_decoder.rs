//! What Anthropic really streams, and what it might.

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelPart, Usage};
use chatwright_providers::{Decode, MessagesDecoder};
use proptest::prelude::*;
use serde_json::{Value, json};

fn decode(events: &[String]) -> Vec<ModelPart> {
    let mut decoder = MessagesDecoder::new("p");
    let mut parts = Vec::new();
    events.iter().for_each(|event| decoder.event(event, &mut parts));
    decoder.end(None, &mut parts);
    parts
}

fn fold(events: &[Value]) -> Accumulator {
    let events: Vec<String> = events.iter().map(Value::to_string).collect();
    let mut answer = Accumulator::new();
    decode(&events).into_iter().for_each(|part| drop(answer.push(part)));
    answer
}

/// Folds these events between the beginning of a message and an end for this reason.
fn answer(events: Vec<Value>, reason: &str) -> Accumulator {
    let begin =
        json!({"type": "message_start", "message": {"id": "msg_1", "content": [], "stop_reason": null}});
    let end =
        [json!({"type": "message_delta", "delta": {"stop_reason": reason}}), json!({"type": "message_stop"})];
    fold(&[vec![begin], events, end.into()].concat())
}

/// A block of these pieces.
fn block(index: u64, block: Value, deltas: &[Value]) -> Vec<Value> {
    let mut events = begun(index, block, deltas);
    events.push(json!({"type": "content_block_stop", "index": index}));
    events
}

fn begun(index: u64, block: Value, deltas: &[Value]) -> Vec<Value> {
    let mut start = json!({"type": "content_block_start", "index": index});
    start["content_block"] = block;
    let delta = |delta: &Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    std::iter::once(start).chain(deltas.iter().map(delta)).collect()
}

fn said(index: u64, words: &str) -> Vec<Value> {
    block(index, json!({"type": "text", "text": ""}), &[json!({"type": "text_delta", "text": words})])
}

fn piece(json: &str) -> Value {
    json!({"type": "input_json_delta", "partial_json": json})
}

fn tool_use(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "look", "input": {}})
}

fn call(id: &str, input: &str) -> Part {
    let (id, name, input) = (id.into(), "look".into(), input.to_owned());
    Part::ToolCall { id, name, input, provider_executed: false, metadata: Metadata::new() }
}

fn ours(fields: Value) -> Metadata {
    Metadata::from([("anthropic".into(), fields)])
}

fn failure(answer: &Accumulator) -> &Failure {
    match answer.end() {
        Some(End::Failure(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

fn finish(answer: &Accumulator) -> &Finish {
    match answer.end() {
        Some(End::Finish(finish)) => finish,
        other => panic!("expected an end, got {other:?}"),
    }
}

#[test]
fn thoughts_keep_their_signature_and_redacted_ones_their_data() {
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    let pieces = [
        json!({"type": "thinking_delta", "thinking": "Hm "}),
        json!({"type": "thinking_delta", "thinking": "é😀."}),
        json!({"type": "signature_delta", "signature": "c2ln"}),
        json!({"type": "signature_delta", "signature": "bmVk"}),
    ];
    let redacted = json!({"type": "redacted_thinking", "data": "b3BhcXVl"});
    let events = [block(0, thinking.clone(), &pieces), block(1, redacted, &[]), said(2, "So.")].concat();
    let thought = |text: &str, fields| Part::Reasoning { text: text.to_owned(), metadata: ours(fields) };
    let expected = [
        thought("Hm é😀.", json!({"signature": "c2lnbmVk"})),
        thought("", json!({"redacted_data": "b3BhcXVl"})),
        Part::text("So."),
    ];
    assert_eq!(answer(events, "end_turn").content(), expected);
    // Half a signature would be refused when it is sent back.
    let cut = fold(&begun(0, thinking, &pieces[..3]));
    assert_eq!(cut.content(), [Part::Reasoning { text: "Hm é😀.".to_owned(), metadata: Metadata::new() }]);
}

#[test]
fn calls_of_several_blocks_interleave_and_are_complete_only_with_the_terminal_event() {
    let events = [
        begun(1, tool_use("a"), &[piece(""), piece("{\"at\""), piece(":1")]),
        begun(2, tool_use("b"), &[piece("{")]),
        vec![
            json!({"type": "content_block_delta", "index": 1, "delta": piece("}")}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "content_block_delta", "index": 2, "delta": piece("}")}),
            json!({"type": "content_block_stop", "index": 2}),
        ],
        block(3, tool_use("c"), &[]),
        block(4, json!({"type": "tool_use", "id": "d", "name": "look", "input": {"at": 2}}), &[]),
    ]
    .concat();
    let whole = answer(events.clone(), "tool_use");
    assert_eq!(
        whole.content(),
        [call("a", "{\"at\":1}"), call("b", "{}"), call("c", "{}"), call("d", "{\"at\":2}")]
    );
    assert_eq!(whole.finish_reason(), Some(FinishReason::ToolCalls));
    let cut = fold(&events);
    assert_eq!(failure(&cut).cause, Cause::Truncated);
    assert_eq!((cut.content(), cut.cut_calls().len()), (vec![], 4));
}

#[test]
fn a_call_that_a_limit_cut_or_that_never_ended_is_never_a_call() {
    let cut = block(0, tool_use("a"), &[piece("{\"to\":\"al")]);
    for reason in ["max_tokens", "model_context_window_exceeded", "refusal", "novel"] {
        let answer = answer([cut.clone(), block(1, tool_use("b"), &[])].concat(), reason);
        assert_eq!((answer.content(), answer.cut_calls().len()), (vec![], 2), "{reason}");
    }
    let whole = block(0, tool_use("a"), &[piece("{}")]);
    assert_eq!(answer(whole, "max_tokens").content(), [call("a", "{}")], "it came whole before the limit");
    let open = answer(begun(0, tool_use("a"), &[piece("{}")]), "tool_use");
    assert_eq!((open.content(), open.cut_calls().len()), (vec![], 1));
    assert_eq!(
        answer(cut, "tool_use").content(),
        [call("a", "{\"to\":\"al")],
        "what the model got wrong is kept"
    );
}

#[test]
fn a_search_keeps_its_call_its_sources_its_encrypted_hits_and_its_citations() {
    let hits = json!([
        {"type": "web_search_result", "title": "Cats", "url": "https://h/cats", "encrypted_content": "s3cret"},
    ]);
    let result = json!({"type": "web_search_tool_result", "tool_use_id": "srv", "content": hits});
    let citation = |text: &str| json!({"type": "web_search_result_location", "cited_text": text, "encrypted_index": "i"});
    let cited = |text: &str| json!({"type": "citations_delta", "citation": citation(text)});
    let events = [
        block(
            0,
            json!({"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}, "caller": {"type": "direct"}}),
            &[piece("{\"query\":"), piece("\"cats\"}")],
        ),
        block(1, result.clone(), &[]),
        block(
            2,
            json!({"type": "text", "text": "", "citations": []}),
            &[cited("a"), json!({"type": "text_delta", "text": "Cats."}), cited("b")],
        ),
    ]
    .concat();
    let answer = answer(events, "end_turn");
    let called = Part::ToolCall {
        id: "srv".into(),
        name: "web_search".into(),
        input: "{\"query\":\"cats\"}".to_owned(),
        provider_executed: true,
        metadata: ours(json!({"type": "server_tool_use", "caller": {"type": "direct"}})),
    };
    let source = Part::Source {
        id: "https://h/cats".into(),
        url: Some("https://h/cats".into()),
        title: Some("Cats".into()),
        media_type: None,
        name: None,
        metadata: Metadata::new(),
    };
    let readable = r#"[{"title":"Cats","type":"web_search_result","url":"https://h/cats"}]"#;
    let given = Part::ToolResult {
        call_id: "srv".into(),
        name: "web_search".into(),
        output: Output::text(readable),
        provider_executed: true,
        metadata: ours(json!({"block": result})),
    };
    let text = Part::Text {
        text: "Cats.".to_owned(),
        metadata: ours(json!({"citations": [citation("a"), citation("b")]})),
    };
    assert_eq!(answer.content(), [called, source, given, text]);
    assert_eq!(answer.finish_reason(), Some(FinishReason::Stop));
}

#[test]
fn results_of_the_providers_tools_tell_failures_and_words() {
    let output = |block: Value| {
        let answer = answer(self::block(0, block, &[]), "end_turn");
        match &answer.content()[..] {
            [Part::ToolResult { name, output, .. }] => (name.to_string(), output.clone()),
            other => panic!("one result, not {other:?}"),
        }
    };
    let failed = json!({"type": "web_search_tool_result", "tool_use_id": "s",
        "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}});
    assert_eq!(output(failed), ("web_search".to_owned(), Output::error("max_uses_exceeded")));
    let words = |is_error: bool| {
        json!({"type": "mcp_tool_result", "tool_use_id": "m", "is_error": is_error,
            "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]})
    };
    assert_eq!(output(words(false)), ("mcp".to_owned(), Output::text("one\ntwo")));
    assert_eq!(output(words(true)), ("mcp".to_owned(), Output::error("one\ntwo")));
    let fetched = json!({"type": "web_fetch_tool_result", "tool_use_id": "f", "content": {
        "source": {"type": "base64", "data": "JVBERg=="}, "encrypted_content": "s3cret"}});
    assert_eq!(output(fetched).1, Output::text(r#"{"source":{"type":"base64"}}"#));
}

#[test]
fn unknown_events_are_signs_of_life_and_unknown_blocks_and_pieces_are_kept() {
    let events = [
        vec![
            json!({"type": "ping"}),
            json!({"type": "novel", "index": "x", "delta": 7, "message": [], "usage": false}),
            json!({"novel": true}),
        ],
        block(
            0,
            json!({"type": "hologram", "beams": 2, "note": null}),
            &[
                json!({"type": "hologram_delta", "note": "ab"}),
                json!({"type": "hologram_delta", "note": "cd", "beams": 3}),
                json!({"type": "text_delta", "text": "in it"}),
            ],
        ),
        block(
            1,
            json!({"type": "text", "text": "H"}),
            &[json!({"type": "text_delta", "text": "i"}), json!({"type": "mood_delta", "mood": "good"})],
        ),
        vec![json!({"type": "content_block_stop", "index": 9})],
    ]
    .concat();
    let hologram = json!({"type": "hologram", "beams": 3, "note": "abcd", "text": "in it"});
    let expected = [
        Part::Unknown(json!({"type": "anthropic.hologram", "block": hologram})),
        Part::Text { text: "Hi".to_owned(), metadata: ours(json!({"mood": "good"})) },
    ];
    assert_eq!(answer(events, "end_turn").content(), expected);
    assert_eq!(
        decode(&["{\"type\":\"ping\"}".to_owned(), String::new(), "{\"type\":\"novel\"}".to_owned()])[..3],
        [ModelPart::KeepAlive, ModelPart::KeepAlive, ModelPart::KeepAlive]
    );
}

#[test]
fn usage_is_a_running_total_whose_input_counts_no_cached_tokens() {
    let usage = |begin: Value, end: Value| {
        let answer = fold(&[
            json!({"type": "message_start", "message": {"id": "m", "usage": begin}}),
            json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 2}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": end}),
            json!({"type": "message_stop"}),
        ]);
        (answer.usage(), finish(&answer).metadata.clone())
    };
    let whole = usage(
        json!({"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7}),
        json!({"output_tokens": 40.0, "input_tokens": null}),
    );
    let expected = Usage {
        input: Some(10),
        output: Some(40),
        reasoning: None,
        cache_read: Some(5),
        cache_write: Some(7),
    };
    assert_eq!(whole, (expected, ours(json!({"stop_reason": "end_turn"}))));
    let searches = json!({"input_tokens": 61, "output_tokens": -1, "server_tool_use": {"web_search_requests": 1}, "novel": null});
    let (counted, metadata) = usage(json!({"input_tokens": 43, "output_tokens": 1}), searches);
    assert_eq!(counted, Usage { input: Some(61), output: Some(2), ..Usage::default() });
    let rest = json!({"stop_reason": "end_turn", "usage": {"server_tool_use": {"web_search_requests": 1}}});
    assert_eq!(metadata, ours(rest));
}

#[test]
fn the_passes_of_a_compaction_are_counted_beside_the_answer_and_those_of_other_models_are_not() {
    let pass = |kind: &str, input: u64, output: u64| {
        json!({"type": kind, "input_tokens": input,
        "output_tokens": output, "cache_read_input_tokens": 1, "cache_creation_input_tokens": 0})
    };
    let iterations = json!([
        pass("compaction", 1_000, 100),
        pass("message", 10, 5),
        pass("compaction", 2_000, 200),
        pass("advisor_message", 9_999, 9_999),
        pass("message", 20, 7),
        7,
    ]);
    let end =
        |usage: Value| json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage});
    let answer = fold(&[
        json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1_000, "output_tokens": 1}}}),
        end(json!({"input_tokens": 10, "output_tokens": 5, "iterations": [pass("compaction", 1_000, 100)]})),
        end(json!({"input_tokens": 30, "output_tokens": 12, "cache_read_input_tokens": 2,
            "cache_creation_input_tokens": 0, "iterations": iterations})),
        json!({"type": "message_stop"}),
    ]);
    let expected = Usage {
        input: Some(3_030),
        output: Some(312),
        reasoning: None,
        cache_read: Some(4),
        cache_write: Some(0),
    };
    assert_eq!(answer.usage(), expected);
    assert_eq!(finish(&answer).metadata["anthropic"]["usage"], json!({ "iterations": iterations }));
}

#[test]
fn the_reason_of_the_end_is_told_in_our_words_and_in_the_providers() {
    for (reason, expected) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("pause_turn", FinishReason::Pause),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("tool_use", FinishReason::ToolCalls),
        ("refusal", FinishReason::ContentFilter),
        ("novel", FinishReason::Other),
    ] {
        let answer = answer(said(0, "Hi"), reason);
        let expected = Finish {
            reason: expected,
            response_id: Some("msg_1".into()),
            metadata: ours(json!({ "stop_reason": reason })),
            ..Finish::default()
        };
        assert_eq!(*finish(&answer), expected);
    }
    let refused = fold(&[
        json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": {"category": "cyber"}},
            "context_management": {"applied_edits": []}}),
        json!({"type": "message_stop"}),
    ]);
    let details = json!({"stop_reason": "refusal", "stop_details": {"category": "cyber"},
        "context_management": {"applied_edits": []}});
    assert_eq!(finish(&refused).metadata, ours(details));
}

#[test]
fn a_message_that_begins_with_its_content_is_whole_without_a_delta() {
    let caller = json!({"type": "code_execution_20250825", "tool_id": "p"});
    let content = json!([
        {"type": "tool_use", "id": "a", "name": "look", "input": {"at": 1}, "caller": caller},
        {"type": "text", "text": "Hi"},
    ]);
    let message = json!({"id": "m", "content": content, "stop_reason": "tool_use"});
    let answer =
        fold(&[json!({"type": "message_start", "message": message}), json!({"type": "message_stop"})]);
    let call = Part::ToolCall {
        id: "a".into(),
        name: "look".into(),
        input: "{\"at\":1}".to_owned(),
        provider_executed: false,
        metadata: ours(json!({"caller": caller})),
    };
    assert_eq!(answer.content(), [call, Part::text("Hi")]);
    assert_eq!(answer.finish_reason(), Some(FinishReason::ToolCalls));
}

#[test]
fn only_the_terminal_event_after_a_reason_ends_an_answer() {
    let stop = || json!({"type": "message_stop"});
    let reason = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}});
    assert_eq!(failure(&fold(&[])).cause, Cause::Truncated);
    assert_eq!(failure(&fold(&said(0, "Hi"))).cause, Cause::Truncated);
    assert_eq!(failure(&fold(&[stop()])).cause, Cause::Truncated, "no reason");
    assert_eq!(failure(&fold(std::slice::from_ref(&reason))).cause, Cause::Truncated, "no terminal event");
    // An event that the end cut off before its blank line counts only if it is the terminal one.
    for (rest, finished) in [(stop().to_string(), true), (reason.to_string(), false), ("{".to_owned(), false)]
    {
        let (mut decoder, mut parts) = (MessagesDecoder::new("p"), Vec::new());
        decoder.event(&reason.to_string(), &mut parts);
        decoder.end(Some(&rest), &mut parts);
        assert_eq!(matches!(parts.last(), Some(ModelPart::Finish(_))), finished, "{rest}");
    }
}

#[test]
fn an_error_is_terminal_and_told_with_its_type_and_code() {
    let words = |event: &Value| {
        let answer = fold(&[event.clone(), json!({"type": "message_stop"})]);
        let failure = failure(&answer).clone();
        assert_eq!((failure.cause, failure.body), (Cause::InStream, Some(event.to_string().into())));
        (failure.error_type, failure.error_code, failure.message)
    };
    let told = |kind: Option<&str>, code: Option<&str>, message: &str| {
        (kind.map(Into::into), code.map(Into::into), Some(message.into()))
    };
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "r"});
    assert_eq!(words(&overloaded), told(Some("overloaded_error"), None, "Overloaded"));
    let coded = json!({"type": "error", "error": {"type": "api_error", "code": 500, "message": "x"}});
    assert_eq!(words(&coded), told(Some("api_error"), Some("500"), "x"));
    assert_eq!(words(&json!({"error": {"message": "gateway"}})), told(None, None, "gateway"));
}

#[test]
fn an_error_that_the_end_cut_off_before_its_blank_line_is_told_if_it_is_whole() {
    let whole =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}).to_string();
    for (rest, cause) in [(&*whole, Cause::InStream), (&whole[..whole.len() - 1], Cause::Truncated)] {
        let (mut decoder, mut parts) = (MessagesDecoder::new("p"), Vec::new());
        decoder.end(Some(rest), &mut parts);
        assert!(
            matches!(&parts[..], [ModelPart::Failure(failure)] if failure.cause == cause),
            "{rest}: {parts:?}"
        );
    }
}

#[test]
fn a_known_event_that_does_not_decode_is_a_protocol_failure() {
    let open = || begun(0, json!({"type": "text", "text": ""}), &[]);
    for event in [
        json!(7),
        json!([]),
        json!({"type": "message_start"}),
        json!({"type": "message_start", "message": {"content": [7]}}),
        json!({"type": "message_delta", "delta": {"stop_reason": 7}}),
        json!({"type": "content_block_start", "index": 1}),
        json!({"type": "content_block_start", "index": 1, "content_block": {}}),
        json!({"type": "content_block_start", "index": -1, "content_block": {"type": "text"}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "a"}}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": 7}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "x"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 7}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "x"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {}}),
        json!({"type": "content_block_delta", "index": 0}),
        json!({"type": "content_block_stop"}),
    ] {
        let answer = fold(&[open(), vec![event.clone()]].concat());
        assert_eq!(failure(&answer).cause, Cause::Protocol, "{event}");
        assert_eq!(failure(&answer).body.as_deref(), Some(&*event.to_string()));
    }
    let mut parts = Vec::new();
    MessagesDecoder::new("p").event("{\"type\":\"ping\"", &mut parts);
    assert!(matches!(&parts[..], [ModelPart::Failure(failure)] if failure.cause == Cause::Protocol));
}

#[test]
fn what_is_held_of_one_answer_is_bounded() {
    let many = (0..5_000).flat_map(|index| said(index, "x")).collect();
    assert_eq!(failure(&answer(many, "end_turn")).cause, Cause::Protocol);
    let (mut decoder, mut parts) = (MessagesDecoder::new("p"), Vec::new());
    begun(0, tool_use("a"), &[]).iter().for_each(|event| decoder.event(&event.to_string(), &mut parts));
    let large =
        json!({"type": "content_block_delta", "index": 0, "delta": piece(&"x".repeat(4 << 20))}).to_string();
    for _ in 0..16 {
        parts.clear();
        decoder.event(&large, &mut parts);
    }
    assert!(matches!(parts.last(), Some(ModelPart::Failure(failure)) if failure.cause == Cause::Protocol));
    // What the end tells, again and again under other names.
    let (mut decoder, mut parts) = (MessagesDecoder::new("p"), Vec::new());
    for number in 0..17 {
        let told = json!({ format!("novel{number}"): "x".repeat(4 << 20) });
        decoder.event(&json!({"type": "message_delta", "delta": told}).to_string(), &mut parts);
    }
    assert!(matches!(parts.last(), Some(ModelPart::Failure(failure)) if failure.cause == Cause::Protocol));
}

/// Events of the format with others' words at their places.
fn any_event() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just(json!("")),
        Just(json!("é😀")),
        Just(json!("{\"x\"")),
        Just(json!("{}")),
        Just(json!(null)),
        Just(json!(7)),
        Just(json!({"type": "direct"})),
    ];
    let kind = |kinds: &'static [&'static str]| proptest::sample::select(kinds);
    let block = (
        kind(&[
            "text",
            "thinking",
            "redacted_thinking",
            "tool_use",
            "server_tool_use",
            "web_search_tool_result",
            "novel",
        ]),
        word.clone(),
        any::<bool>(),
    )
        .prop_map(|(kind, word, wrong)| {
            let text = if wrong { word } else { json!("") };
            json!({"type": kind, "text": text, "thinking": text, "signature": "s", "data": text, "id": "a",
                "name": "look", "input": {}, "tool_use_id": "a", "content": text})
        });
    let delta = (
        kind(&[
            "text_delta",
            "thinking_delta",
            "signature_delta",
            "input_json_delta",
            "citations_delta",
            "novel_delta",
        ]),
        word.clone(),
    )
        .prop_map(|(kind, word)| {
            json!({"type": kind, "text": word, "thinking": word, "signature": word, "partial_json": word,
                "citation": word})
        });
    prop_oneof![
        4 => (0..3_u64, block).prop_map(|(index, block)| json!({"type": "content_block_start", "index": index, "content_block": block})),
        8 => (0..3_u64, delta).prop_map(|(index, delta)| json!({"type": "content_block_delta", "index": index, "delta": delta})),
        4 => (0..3_u64).prop_map(|index| json!({"type": "content_block_stop", "index": index})),
        2 => word.clone().prop_map(|word| json!({"type": "message_delta", "delta": {"stop_reason": word}, "usage": word})),
        1 => Just(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}})),
        1 => Just(json!({"type": "message_stop"})),
        1 => word.prop_map(|word| json!({"type": word, "error": word, "message": word})),
    ]
}

proptest! {
    #[test]
    fn any_events_end_in_exactly_one_terminal_part_and_the_order_holds(
        events in proptest::collection::vec(prop_oneof![
            20 => any_event().prop_map(|event| event.to_string()),
            1 => "\\PC{0,20}",
        ], 0..30),
    ) {
        let parts = decode(&events);
        prop_assert_eq!(parts.iter().filter(|part| part.is_terminal()).count(), 1);
        prop_assert!(parts.last().is_some_and(ModelPart::is_terminal));
        let finished = matches!(parts.last(), Some(ModelPart::Finish(_)));
        let complete = parts.iter().any(|part| matches!(part, ModelPart::ToolCall { provider_executed: false, .. }));
        prop_assert!(finished || !complete, "a call is complete in a failed answer");
        let count = |of: fn(&ModelPart) -> bool| parts.iter().filter(|part| of(part)).count();
        let open = [
            count(|p| matches!(p, ModelPart::TextStart { .. })) - count(|p| matches!(p, ModelPart::TextEnd { .. })),
            count(|p| matches!(p, ModelPart::ReasoningStart { .. })) - count(|p| matches!(p, ModelPart::ReasoningEnd { .. })),
        ];
        prop_assert!(!finished || open == [0, 0], "a block of a finished answer is open");
    }
}
