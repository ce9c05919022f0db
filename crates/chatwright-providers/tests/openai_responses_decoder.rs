//! What OpenAI really streams, and what it might.

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelPart, Usage};
use chatwright_providers::{Decode, ResponsesDecoder};
use proptest::prelude::*;
use serde_json::{Value, json};

fn decode(events: &[String]) -> Vec<ModelPart> {
    let mut decoder = ResponsesDecoder::new("p");
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

/// Folds these events between the beginning and the regular end of a response.
fn answer(events: Vec<Value>) -> Accumulator {
    ended(events, completed())
}

fn ended(events: Vec<Value>, end: Value) -> Accumulator {
    let begin = json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}});
    fold(&[vec![begin], events, vec![end]].concat())
}

fn completed() -> Value {
    json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}})
}

fn incomplete(reason: &str) -> Value {
    json!({"type": "response.incomplete", "response": {"id": "resp_1", "status": "incomplete",
        "incomplete_details": {"reason": reason}}})
}

fn added(index: u64, item: Value) -> Value {
    let mut event = json!({"type": "response.output_item.added", "output_index": index});
    event["item"] = item;
    event
}

fn done(index: u64, item: Value) -> Value {
    let mut event = json!({"type": "response.output_item.done", "output_index": index});
    event["item"] = item;
    event
}

/// A piece of an item; `kind` stands between `response.` and `.delta`.
fn piece(index: u64, kind: &str, delta: &str) -> Value {
    json!({"type": format!("response.{kind}.delta"), "output_index": index, "delta": delta})
}

fn message() -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "content": []})
}

fn said(index: u64, words: &str) -> Vec<Value> {
    vec![added(index, message()), piece(index, "output_text", words), done(index, message())]
}

fn function(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": "look",
        "arguments": arguments, "status": "completed"})
}

fn called(index: u64, id: &str, arguments: &str) -> Vec<Value> {
    let arguments_delta = piece(index, "function_call_arguments", arguments);
    vec![added(index, function(id, "")), arguments_delta, done(index, function(id, arguments))]
}

fn call(id: &str, input: &str) -> Part {
    let metadata = ours(json!({"id": format!("fc_{id}")}));
    let (id, name, input) = (id.into(), "look".into(), input.to_owned());
    Part::ToolCall { id, name, input, provider_executed: false, metadata }
}

fn ours(fields: Value) -> Metadata {
    Metadata::from([("openai".into(), fields)])
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
fn thoughts_are_kept_whole_with_their_encrypted_content_and_are_words_without_it() {
    let summary = |delta: &str, index: u64| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": index, "delta": delta});
    let begun = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let sealed = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "c2VhbGVk",
        "summary": [{"type": "summary_text", "text": "Hm é😀."}, {"type": "summary_text", "text": "So."}]});
    let thought = |text: &str, metadata| Part::Reasoning { text: text.to_owned(), metadata };
    let pieces = vec![
        added(0, begun.clone()),
        summary("Hm ", 0),
        summary("é😀.", 0),
        summary("So.", 1),
        done(0, sealed.clone()),
    ];
    let kept = thought("Hm é😀.\n\nSo.", ours(json!({"item": sealed, "provider": "p"})));
    let expected = [kept];
    assert_eq!(answer(pieces.clone()).content(), expected);
    let at_once = vec![added(0, begun.clone()), done(0, sealed.clone())];
    assert_eq!(answer(at_once).content(), expected, "a server that streams no pieces");
    assert_eq!(answer(pieces[..4].to_vec()).content(), [thought("Hm é😀.\n\nSo.", Metadata::new())]);

    let silent = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "c2VhbGVk", "summary": []});
    let answered = answer(vec![added(0, begun.clone()), done(0, silent.clone())]);
    assert_eq!(answered.content(), [thought("", ours(json!({"item": silent, "provider": "p"})))]);
    assert_eq!(answer(vec![added(0, begun.clone()), done(0, begun.clone())]).content(), []);

    let open = vec![added(0, begun.clone()), piece(0, "reasoning_text", "Hm."), done(0, begun)];
    assert_eq!(answer(open).content(), [thought("Hm.", Metadata::new())]);
}

#[test]
fn calls_of_several_items_interleave_and_are_complete_only_with_the_terminal_event() {
    let arguments = |index: u64, delta: &str| piece(index, "function_call_arguments", delta);
    let events = vec![
        added(1, function("a", "")),
        arguments(1, "{\"at\""),
        added(2, function("b", "")),
        arguments(2, "{"),
        arguments(1, ":1}"),
        json!({"type": "response.function_call_arguments.done", "output_index": 1, "arguments": "{\"at\":1}"}),
        done(1, function("a", "{\"at\":1}")),
        arguments(2, "}"),
        done(2, function("b", "")),
        added(3, function("c", "")),
        done(3, function("c", "")),
        done(4, function("d", "{\"at\":2}")),
    ];
    let whole = answer(events.clone());
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
    let cut = [called(0, "a", "{\"to\":\"al"), called(1, "b", "")].concat();
    for reason in ["max_output_tokens", "content_filter", "novel"] {
        let answer = ended(cut.clone(), incomplete(reason));
        assert_eq!((answer.content(), answer.cut_calls().len()), (vec![], 2), "{reason}");
    }
    let whole = ended(called(0, "a", "{}"), incomplete("max_output_tokens"));
    assert_eq!(whole.content(), [call("a", "{}")], "it came whole before the limit");
    let open = answer(called(0, "a", "{}")[..2].to_vec());
    assert_eq!((open.content(), open.cut_calls().len()), (vec![], 1));
    assert_eq!(open.finish_reason(), Some(FinishReason::Stop));
    let mut told = function("a", "{}");
    told["status"] = "incomplete".into();
    let told = answer(vec![added(0, function("a", "")), done(0, told)]);
    assert_eq!((told.content(), told.cut_calls().len()), (vec![], 1));
    let wrong = answer(called(0, "a", "{\"to\":\"al"));
    assert_eq!(wrong.content(), [call("a", "{\"to\":\"al")], "what the model got wrong is kept");
}

#[test]
fn the_place_of_an_item_tells_it_where_ids_change_and_its_id_where_there_is_no_place() {
    let mut other = message();
    other["id"] = "changed".into();
    let mut delta = piece(0, "output_text", "Hi");
    delta["item_id"] = "changed again".into();
    assert_eq!(answer(vec![added(0, message()), delta, done(0, other)]).content(), [Part::text("Hi")]);
    let bare =
        |kind: &str, item: Value| json!({"type": format!("response.output_item.{kind}"), "item": item});
    let delta = json!({"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Hi"});
    let answer = answer(vec![bare("added", message()), delta, bare("done", message())]);
    assert_eq!(answer.content(), [Part::text("Hi")]);
}

#[test]
fn texts_keep_phase_refusal_and_annotations_and_tell_sources_once() {
    let page = json!({"type": "url_citation", "url": "https://h/cats", "title": "Cats", "start_index": 0, "end_index": 4});
    let file = json!({"type": "file_citation", "file_id": "file_1", "filename": "cats.pdf", "index": 3});
    let cites = |annotation: &Value| {
        json!({"type": "response.output_text.annotation.added", "output_index": 0,
        "content_index": 0, "annotation": annotation})
    };
    let ended = json!({"type": "message", "id": "msg_1", "phase": "final_answer", "content": [
        {"type": "output_text", "text": "Cats.", "annotations": [page, file, page]},
        {"type": "refusal", "refusal": "No dogs."},
    ]});
    let refused =
        json!({"type": "response.refusal.delta", "output_index": 0, "content_index": 1, "delta": "No dogs."});
    let source = |id: &str, url: Option<&str>, title: Option<&str>, name: Option<&str>| Part::Source {
        id: id.into(),
        url: url.map(Into::into),
        title: title.map(Into::into),
        media_type: None,
        name: name.map(Into::into),
        metadata: Metadata::new(),
    };
    let text = |text: &str, fields| Part::Text { text: text.to_owned(), metadata: ours(fields) };
    let expected = [
        text("Cats.", json!({"phase": "final_answer", "annotations": [page, file, page]})),
        text("No dogs.", json!({"phase": "final_answer", "refusal": true})),
        source("https://h/cats", Some("https://h/cats"), Some("Cats"), None),
        source("file_1", None, None, Some("cats.pdf")),
    ];
    let events = vec![
        added(0, message()),
        piece(0, "output_text", "Cats."),
        cites(&page),
        refused,
        done(0, ended.clone()),
    ];
    assert_eq!(answer(events).content(), expected);
    let at_once = answer(vec![added(0, message()), done(0, ended)]);
    assert_eq!(at_once.content(), expected, "a server that streams no pieces");
    let only_pieces =
        answer(vec![added(0, message()), cites(&page), piece(0, "output_text", "Cats."), done(0, message())]);
    assert_eq!(only_pieces.content()[0], text("Cats.", json!({"annotations": [page]})));
}

#[test]
fn tools_that_openai_runs_are_a_call_with_the_whole_item_and_a_result_for_people() {
    let ran = |item: Value| {
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        match &answer(vec![added(0, begun), done(0, item.clone())]).content()[..] {
            [
                Part::ToolCall { id, name, input, provider_executed: true, metadata },
                Part::ToolResult { call_id, output, provider_executed: true, .. },
                rest @ ..,
            ] => {
                assert_eq!((id, metadata), (call_id, &ours(json!({"item": item, "provider": "p"}))));
                (name.to_string(), input.clone(), output.clone(), rest.len())
            }
            other => panic!("a call and its result, not {other:?}"),
        }
    };
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed",
        "action": {"type": "search", "query": "cats", "sources": [{"type": "url", "url": "https://h"}]}});
    let asked = r#"{"query":"cats","type":"search"}"#.to_owned();
    assert_eq!(ran(search), ("web_search".to_owned(), asked, Output::text(""), 1));
    let mcp = |error: Value| {
        json!({"type": "mcp_call", "id": "mcp_1", "name": "shorten", "server_label": "zip",
        "arguments": "{\"url\":1}", "output": "short", "error": error})
    };
    let shorten = |output| ("shorten".to_owned(), "{\"url\":1}".to_owned(), output, 0);
    assert_eq!(ran(mcp(Value::Null)), shorten(Output::text("short")));
    assert_eq!(ran(mcp(json!({"message": "no"}))), shorten(Output::error("no")));
    let code = json!({"type": "code_interpreter_call", "id": "ci_1", "status": "failed", "code": "1/0",
        "outputs": null});
    let failed = Output::error("it failed");
    assert_eq!(ran(code), ("code_interpreter".to_owned(), r#"{"code":"1/0"}"#.to_owned(), failed, 0));
    let drawn =
        json!({"type": "image_generation_call", "id": "ig_1", "output_format": "webp", "result": "UklG"});
    let picture = Part::File {
        media_type: "image/webp".into(),
        name: None,
        data: FileData::Base64("UklG".into()),
        metadata: ours(json!({"item": {"type": "image_generation_call", "id": "ig_1",
            "output_format": "webp", "result": ""}, "provider": "p"})),
    };
    assert_eq!(answer(vec![added(0, drawn.clone()), done(0, drawn)]).content(), [picture]);
}

#[test]
fn unknown_events_are_signs_of_life_and_unknown_items_are_kept() {
    let shell = json!({"type": "shell_call", "id": "sh_1", "call_id": "a", "action": {"commands": ["ls"]}});
    let events = [
        vec![
            json!({"type": "response.in_progress"}),
            json!({"type": "novel", "output_index": "x", "delta": 7, "response": [], "item": false}),
            json!({"novel": true}),
            added(0, json!({"type": "hologram"})),
            json!({"type": "response.hologram.delta", "output_index": 0, "delta": "x"}),
            done(0, json!({"type": "hologram", "beams": 2})),
            done(1, shell.clone()),
        ],
        said(2, "Hi"),
    ]
    .concat();
    let expected = [
        Part::Unknown(
            json!({"type": "openai.hologram", "item": {"type": "hologram", "beams": 2}, "provider": "p"}),
        ),
        Part::Unknown(json!({"type": "openai.shell_call", "item": shell, "provider": "p"})),
        Part::text("Hi"),
    ];
    assert_eq!(answer(events).content(), expected);
    let lives = ["{\"type\":\"novel\"}", "", "{\"type\":\"response.queued\"}"].map(str::to_owned);
    assert_eq!(decode(&lives)[..3], [ModelPart::KeepAlive, ModelPart::KeepAlive, ModelPart::KeepAlive]);
}

#[test]
fn usage_counts_cached_tokens_apart_and_keeps_what_it_has_no_place_for() {
    let usage = |usage: Value| {
        let response = json!({"id": "r", "status": "completed", "service_tier": "default", "usage": usage});
        let answer = ended(said(0, "Hi"), json!({"type": "response.completed", "response": response}));
        (answer.usage(), finish(&answer).metadata.clone())
    };
    let whole =
        usage(json!({"input_tokens": 20, "output_tokens": 40.0, "total_tokens": 60, "num_sources_used": 2,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3, "novel": 1},
        "output_tokens_details": {"reasoning_tokens": 30}}));
    let expected = Usage {
        input: Some(12),
        output: Some(40),
        reasoning: Some(30),
        cache_read: Some(5),
        cache_write: Some(3),
    };
    let rest = json!({"service_tier": "default",
        "usage": {"num_sources_used": 2, "input_tokens_details": {"novel": 1}}});
    assert_eq!(whole, (expected, ours(rest)));
    assert_eq!(usage(Value::Null), (Usage::default(), ours(json!({"service_tier": "default"}))));
    let odd =
        usage(json!({"input_tokens": 1, "output_tokens": -1, "input_tokens_details": {"cached_tokens": 9}}));
    assert_eq!(odd.0, Usage { input: Some(0), cache_read: Some(9), ..Usage::default() });
}

#[test]
fn the_reason_of_the_end_is_told_in_our_words_and_in_the_providers() {
    assert_eq!(
        *finish(&answer(said(0, "Hi"))),
        Finish { reason: FinishReason::Stop, response_id: Some("resp_1".into()), ..Finish::default() }
    );
    for (why, expected) in [
        ("max_output_tokens", FinishReason::Length),
        ("content_filter", FinishReason::ContentFilter),
        ("novel", FinishReason::Other),
    ] {
        let mut one_event_for_all = incomplete(why);
        one_event_for_all["type"] = "response.completed".into();
        for end in [incomplete(why), one_event_for_all] {
            let answer = ended(said(0, "Hi"), end);
            assert_eq!(finish(&answer).reason, expected);
            assert_eq!(finish(&answer).metadata, ours(json!({"incomplete_details": {"reason": why}})));
        }
    }
}

#[test]
fn an_answer_of_which_no_item_was_streamed_is_read_from_its_end() {
    let mut message = message();
    message["content"] = json!([{"type": "output_text", "text": "Hi"}]);
    let end = |kind: &str, output: Value| {
        let response = json!({"id": "resp_1", "output": output});
        json!({"type": kind, "response": response})
    };
    let whole = ended(vec![], end("response.completed", json!([message, function("a", "{}")])));
    assert_eq!(whole.content(), [Part::text("Hi"), call("a", "{}")]);
    assert_eq!(whole.finish_reason(), Some(FinishReason::ToolCalls));
    let streamed = ended(said(0, "Hi"), end("response.completed", json!([message])));
    assert_eq!(streamed.content(), [Part::text("Hi")], "and only then");
    let cut = ended(vec![], end("response.incomplete", json!([function("a", "{\"to\":\"al")])));
    assert_eq!((cut.content(), cut.cut_calls().len()), (vec![], 1));
    let odd = ended(vec![], end("response.completed", json!([7])));
    assert_eq!(failure(&odd).cause, Cause::Protocol);
}

#[test]
fn only_a_terminal_event_ends_an_answer() {
    assert_eq!(failure(&fold(&said(0, "Hi"))).cause, Cause::Truncated);
    let gateway = [said(0, "Hi")[0].to_string(), "[DONE]".to_owned()];
    let ended = decode(&gateway);
    assert!(matches!(ended.last(), Some(ModelPart::Failure(failure)) if failure.cause == Cause::Truncated));
    for (rest, finished) in [
        (completed().to_string(), true),
        (incomplete("max_output_tokens").to_string(), true),
        (piece(0, "output_text", "x").to_string(), false),
        ("{".to_owned(), false),
    ] {
        let (mut decoder, mut parts) = (ResponsesDecoder::new("p"), Vec::new());
        decoder.event(&added(0, message()).to_string(), &mut parts);
        decoder.end(Some(&rest), &mut parts);
        assert_eq!(matches!(parts.last(), Some(ModelPart::Finish(_))), finished, "{rest}");
        assert_eq!(parts.iter().filter(|part| part.is_terminal()).count(), 1);
    }
}

#[test]
fn an_error_is_terminal_and_told_with_its_type_and_code() {
    let words = |event: &Value| {
        let answer = fold(&[event.clone(), completed()]);
        let failure = failure(&answer).clone();
        assert_eq!((failure.cause, failure.body), (Cause::InStream, Some(event.to_string().into())));
        (failure.error_type, failure.error_code, failure.message)
    };
    let told = |kind: Option<&str>, code: Option<&str>, message: &str| {
        (kind.map(Into::into), code.map(Into::into), Some(message.into()))
    };
    let flat = json!({"type": "error", "code": "server_error", "message": "x", "param": null});
    assert_eq!(words(&flat), told(None, Some("server_error"), "x"));
    let nested =
        json!({"type": "error", "error": {"type": "insufficient_quota", "code": "quota", "message": "x"}});
    assert_eq!(words(&nested), told(Some("insufficient_quota"), Some("quota"), "x"));
    let error = json!({"code": "rate_limit_exceeded", "message": "slow"});
    for kind in ["response.failed", "response.completed"] {
        let failed = json!({"type": kind, "response": {"status": "failed", "error": error}});
        assert_eq!(words(&failed), told(None, Some("rate_limit_exceeded"), "slow"));
    }
    assert_eq!(words(&json!({"error": {"message": "gateway"}})), told(None, None, "gateway"));
    let (mut decoder, mut parts) = (ResponsesDecoder::new("p"), Vec::new());
    decoder.error_event("no JSON", &mut parts);
    assert!(
        matches!(&parts[..], [ModelPart::Failure(failure)] if failure.message.as_deref() == Some("no JSON"))
    );
}

#[test]
fn a_known_event_that_does_not_decode_is_a_protocol_failure() {
    for event in [
        json!(7),
        json!([]),
        json!({"type": "response.created"}),
        json!({"type": "response.completed"}),
        json!({"type": "response.completed", "response": 7}),
        json!({"type": "response.completed", "response": {"usage": 7}}),
        json!({"type": "response.output_item.added", "output_index": 1}),
        json!({"type": "response.output_item.added", "output_index": -1, "item": {"type": "message"}}),
        added(0, message()),
        added(1, json!({})),
        added(1, json!(7)),
        added(1, json!({"type": "function_call", "name": "look"})),
        added(1, json!({"type": "function_call", "call_id": "a"})),
        done(1, json!({"type": "function_call", "call_id": "a", "name": "look", "arguments": {}})),
        json!({"type": "response.output_item.done", "output_index": 0}),
        piece(1, "output_text", "x"),
        piece(0, "reasoning_summary_text", "x"),
        piece(0, "function_call_arguments", "x"),
        json!({"type": "response.output_text.delta", "output_index": 0}),
        json!({"type": "response.output_text.delta", "output_index": 0, "delta": 7}),
        json!({"type": "response.output_text.annotation.added", "output_index": 0}),
    ] {
        let answer = fold(&[added(0, message()), event.clone()]);
        assert_eq!(failure(&answer).cause, Cause::Protocol, "{event}");
        assert_eq!(failure(&answer).body.as_deref(), Some(&*event.to_string()));
    }
    let mut parts = Vec::new();
    ResponsesDecoder::new("p").event("{\"type\":\"response.created\"", &mut parts);
    assert!(matches!(&parts[..], [ModelPart::Failure(failure)] if failure.cause == Cause::Protocol));
}

#[test]
fn what_is_held_of_one_answer_is_bounded() {
    let many = (0..5_000).flat_map(|index| said(index, "x")).collect();
    assert_eq!(failure(&answer(many)).cause, Cause::Protocol);
    let text = |index: u64| {
        let mut delta = piece(0, "output_text", "x");
        delta["content_index"] = index.into();
        delta
    };
    let texts = [added(0, message())].into_iter().chain((0..5_000).map(text)).collect();
    assert_eq!(failure(&answer(texts)).cause, Cause::Protocol);
    let (mut decoder, mut parts) = (ResponsesDecoder::new("p"), Vec::new());
    decoder.event(&added(0, function("a", "")).to_string(), &mut parts);
    let large = piece(0, "function_call_arguments", &"x".repeat(4 << 20)).to_string();
    for _ in 0..16 {
        parts.clear();
        decoder.event(&large, &mut parts);
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
        Just(json!({"type": "url_citation", "url": "u"})),
    ];
    let kind = |kinds: &'static [&'static str]| proptest::sample::select(kinds);
    let item = (
        kind(&["message", "reasoning", "function_call", "web_search_call", "image_generation_call", "novel"]),
        word.clone(),
        any::<bool>(),
    )
        .prop_map(|(kind, word, wrong)| {
            let text = if wrong { word } else { json!("x") };
            json!({"type": kind, "id": "i", "call_id": "a", "name": "look", "arguments": text, "result": text,
                "encrypted_content": text, "summary": [{"text": text}], "action": text, "status": text,
                "content": [{"type": "output_text", "text": text, "annotations": [text]}]})
        });
    let delta = kind(&[
        "output_text",
        "refusal",
        "reasoning_summary_text",
        "reasoning_text",
        "function_call_arguments",
        "novel",
    ]);
    prop_oneof![
        4 => (0..3_u64, item.clone()).prop_map(|(index, item)| added(index, item)),
        4 => (0..3_u64, item).prop_map(|(index, item)| done(index, item)),
        8 => (0..3_u64, delta, word.clone()).prop_map(|(index, kind, word)| {
            let mut event = piece(index, kind, "");
            event["delta"] = word;
            event
        }),
        2 => (0..3_u64, word.clone()).prop_map(|(index, word)| json!({
            "type": "response.output_text.annotation.added", "output_index": index, "annotation": word})),
        1 => word.clone().prop_map(|word| json!({"type": "response.completed", "response": {"usage": word}})),
        1 => Just(completed()),
        1 => Just(incomplete("max_output_tokens")),
        1 => word.prop_map(|word| json!({"type": word, "error": word, "response": word})),
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
        let pairs = [
            (count(|p| matches!(p, ModelPart::TextStart { .. })), count(|p| matches!(p, ModelPart::TextEnd { .. }))),
            (count(|p| matches!(p, ModelPart::ReasoningStart { .. })), count(|p| matches!(p, ModelPart::ReasoningEnd { .. }))),
            (count(|p| matches!(p, ModelPart::ToolInputStart { .. })), count(|p| matches!(p, ModelPart::ToolInputEnd { .. }))),
        ];
        prop_assert!(!finished || pairs.iter().all(|(begun, ended)| begun == ended), "a block of a finished answer is open");
    }
}
