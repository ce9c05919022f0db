//! What Google really streams, and what it might.

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{FileData, Metadata, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{Finish, FinishReason, ModelPart, Usage};
use chatwright_providers::{Decode, GeminiDecoder};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn decode(events: &[String]) -> Vec<ModelPart> {
    let mut decoder = GeminiDecoder::new("p");
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

fn says(part: Value) -> Value {
    let mut event = json!({"candidates": [{"content": {"role": "model", "parts": []}, "index": 0}]});
    event["candidates"][0]["content"]["parts"] = vec![part].into();
    event
}

fn ends(reason: &str) -> Value {
    json!({"candidates": [{"finishReason": reason}]})
}

/// Folds an event for each of these parts and an end for this reason.
fn answer(parts: &[Value], reason: &str) -> Accumulator {
    let events = parts.iter().cloned().map(says).chain([ends(reason)]);
    fold(&events.collect::<Vec<_>>())
}

fn text(text: &str) -> Value {
    json!({"text": text})
}

fn calls(call: Value) -> Value {
    Value::Object(Map::from_iter([("functionCall".to_owned(), call)]))
}

fn call(id: &str, input: &str, metadata: Metadata) -> Part {
    let (id, name, input) = (id.into(), "look".into(), input.to_owned());
    Part::ToolCall { id, name, input, provider_executed: false, metadata }
}

fn ours(fields: Value) -> Metadata {
    Metadata::from([("google".into(), fields)])
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
fn thoughts_and_text_are_blocks_and_a_signature_stays_with_its_part() {
    let answer = answer(
        &[
            json!({"text": "Hm ", "thought": true}),
            json!({"text": "é😀.", "thought": true, "thoughtSignature": "dA=="}),
            text("So "),
            text("it is."),
            json!({"text": "", "thoughtSignature": "cw=="}),
            text("More."),
            json!({"thoughtSignature": "bm8gdGV4dA=="}),
        ],
        "STOP",
    );
    let said = |text: &str, fields| Part::Text { text: text.to_owned(), metadata: ours(fields) };
    let expected = [
        Part::Reasoning {
            text: "Hm é😀.".to_owned(),
            metadata: ours(json!({"thoughtSignature": "dA==", "signed_from": 3})),
        },
        said("So it is.", json!({"thoughtSignature": "cw==", "signed_from": 9})),
        said("More.", json!({"thoughtSignature": "bm8gdGV4dA==", "signed_from": 5})),
    ];
    assert_eq!(answer.content(), expected);
    assert_eq!(finish(&answer).reason, FinishReason::Stop);
}

#[test]
fn calls_get_ids_by_their_place_unless_they_bring_one_and_equal_ones_stay_two() {
    let parts = [
        json!({"functionCall": {"name": "look", "args": {"at": 1.50}}, "thoughtSignature": "cw=="}),
        calls(json!({"name": "look"})),
        calls(json!({"name": "look", "args": {}})),
        calls(json!({"name": "look", "args": {}, "id": "x1"})),
    ];
    let whole = answer(&parts, "STOP");
    let expected = [
        call("call_0", r#"{"at":1.5}"#, ours(json!({"thoughtSignature": "cw=="}))),
        call("call_1", "{}", Metadata::new()),
        call("call_2", "{}", Metadata::new()),
        call("x1", "{}", ours(json!({"id": "x1"}))),
    ];
    assert_eq!(whole.content(), expected);
    assert_eq!(finish(&whole).reason, FinishReason::ToolCalls);
    // Without the terminal event none is complete.
    let cut = fold(&parts.clone().map(says));
    assert_eq!((failure(&cut).cause, cut.content(), cut.cut_calls().len()), (Cause::Truncated, vec![], 4));
    // Nor is one of an answer that Google could not read itself.
    let malformed = answer(&parts, "MALFORMED_FUNCTION_CALL");
    assert_eq!((finish(&malformed).reason, malformed.content()), (FinishReason::Error, vec![]));
}

#[test]
fn arguments_in_pieces_are_put_together_and_a_call_that_does_not_end_is_cut() {
    let piece = |path: &str, value: Value, goes_on: bool| {
        let mut piece = value;
        piece["jsonPath"] = path.into();
        piece["willContinue"] = goes_on.into();
        calls(json!({"partialArgs": [piece], "willContinue": true}))
    };
    let begin = || calls(json!({"name": "look", "willContinue": true}));
    let parts = [
        json!({"functionCall": {"name": "look", "willContinue": true}, "thoughtSignature": "cw=="}),
        piece("$.who.name", json!({"stringValue": "é"}), true),
        piece("$.who.name", json!({"stringValue": "😀"}), true),
        piece("$.who.name", json!({"stringValue": ""}), false),
        piece("$.list[1]['odd.]key']", json!({"numberValue": 0.5}), false),
        piece("$.list[0]", json!({"boolValue": true}), false),
        piece("$.none", json!({"nullValue": "NULL_VALUE"}), false),
        calls(json!({})),
        begin(),
        calls(json!({"partialArgs": [{"jsonPath": "$.n", "numberValue": 7}]})),
        calls(json!({})),
        begin(),
        piece("$.a", json!({"stringValue": "cut"}), true),
        begin(),
    ];
    let answer = answer(&parts, "STOP");
    let content = answer.content();
    let Part::ToolCall { input, .. } = &content[0] else { panic!("a call") };
    let expected = json!({"who": {"name": "é😀"}, "list": [true, {"odd.]key": 0.5}], "none": null});
    assert_eq!(serde_json::from_str::<Value>(input).ok(), Some(expected));
    assert_eq!(content[1..], [call("call_1", r#"{"n":7}"#, Metadata::new())]);
    let cut: Vec<_> = answer.cut_calls().into_iter().map(|call| call.id).collect();
    assert_eq!(cut, ["call_2".into(), "call_3".into()]);
}

#[test]
fn pieces_go_on_with_the_arguments_that_a_call_begins_with() {
    let begin = calls(json!({"name": "look", "args": {"x": 1}, "willContinue": true}));
    let piece = calls(json!({"partialArgs": [{"jsonPath": "$.n", "numberValue": 7}]}));
    let answer = answer(&[begin, piece], "STOP");
    assert_eq!(answer.content(), [call("call_0", r#"{"n":7,"x":1}"#, Metadata::new())]);
}

#[test]
fn code_files_and_what_is_not_known_are_kept() {
    let code = json!({"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": "c"});
    let result = json!({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}});
    let novel = json!({"hologram": {"beams": 2}, "thought": true});
    let drawn = json!({"inlineData": {"mimeType": "image/png", "data": "iVBO"}, "thoughtSignature": "f"});
    let stored = json!({"fileData": {"mimeType": "video/mp4", "fileUri": "https://example.org/v"}});
    let answer = answer(
        &[code.clone(), result.clone(), text("One"), novel.clone(), drawn, stored, json!({}), text("")],
        "STOP",
    );
    let kept = |kind: &str, part| Part::Unknown(json!({"type": kind, "part": part}));
    let file = |media_type: &str, data, metadata| Part::File {
        media_type: media_type.into(),
        name: None,
        data,
        metadata,
    };
    let expected = [
        kept("google.executableCode", code),
        kept("google.codeExecutionResult", result),
        Part::text("One"),
        kept("google.hologram", novel),
        file("image/png", FileData::Base64("iVBO".into()), ours(json!({"thoughtSignature": "f"}))),
        file("video/mp4", FileData::Url("https://example.org/v".into()), Metadata::new()),
    ];
    assert_eq!(answer.content(), expected);
}

#[test]
fn sources_come_once_and_what_the_end_tells_is_kept() {
    let web = |uri: &str| json!({"web": {"uri": uri, "title": "Cats"}});
    let mut first = says(text("Cats."));
    first["candidates"][0]["groundingMetadata"] = json!({"groundingChunks": [web("https://a.example")]});
    let grounding = json!({
        "groundingChunks": [web("https://a.example"), web("https://b.example"), {"novel": {}}], "webSearchQueries": ["cats"],
    });
    let last = json!({
        "candidates": [{"finishReason": "STOP", "groundingMetadata": grounding, "novel": 1}],
        "responseId": "r1", "modelVersion": "gemini-9", "novel": {},
    });
    let answer = fold(&[first, last]);
    let source = |url: &str| Part::Source {
        id: url.into(),
        url: Some(url.into()),
        title: Some("Cats".into()),
        media_type: None,
        name: None,
        metadata: Metadata::new(),
    };
    assert_eq!(
        answer.content(),
        [Part::text("Cats."), source("https://a.example"), source("https://b.example")]
    );
    let expected =
        ours(json!({"finishReason": "STOP", "groundingMetadata": grounding, "modelVersion": "gemini-9"}));
    assert_eq!(finish(&answer).metadata, expected);
    assert_eq!(finish(&answer).response_id.as_deref(), Some("r1"));
}

#[test]
fn the_last_counts_are_the_usage_and_silence_erases_nothing() {
    let usage = |usage: Value| json!({"usageMetadata": usage});
    let events = [
        usage(json!({"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 1})),
        usage(json!({"promptTokenCount": 12, "candidatesTokenCount": 5.0, "thoughtsTokenCount": 3})),
        ends("STOP"),
        usage(json!({"toolUsePromptTokenCount": 2, "trafficType": "ON_DEMAND"})),
    ];
    let answer = fold(&events);
    let expected = Usage {
        input: Some(10),
        output: Some(8),
        reasoning: Some(3),
        cache_read: Some(4),
        cache_write: None,
    };
    assert_eq!(answer.usage(), expected);
    assert_eq!(
        finish(&answer).metadata["google"]["usageMetadata"],
        json!({"toolUsePromptTokenCount": 2, "trafficType": "ON_DEMAND"})
    );
    assert!(fold(&[ends("STOP")]).usage().is_empty(), "not reported is not zero");
}

#[test]
fn reasons_are_told_in_the_words_of_the_port() {
    for (reason, expected) in [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("RECITATION", FinishReason::ContentFilter),
        ("BLOCKLIST", FinishReason::ContentFilter),
        ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
        ("SPII", FinishReason::ContentFilter),
        ("IMAGE_SAFETY", FinishReason::ContentFilter),
        ("MALFORMED_FUNCTION_CALL", FinishReason::Error),
        ("UNEXPECTED_TOOL_CALL", FinishReason::Error),
        ("OTHER", FinishReason::Other),
        ("NOVEL", FinishReason::Other),
    ] {
        let answer = answer(&[text("Hi")], reason);
        assert_eq!(finish(&answer).reason, expected, "{reason}");
        assert_eq!(finish(&answer).metadata, ours(json!({"finishReason": reason})));
    }
    let blocked = fold(&[json!({"promptFeedback": {"blockReason": "SAFETY"}})]);
    assert_eq!(finish(&blocked).reason, FinishReason::ContentFilter);
    assert_eq!(finish(&blocked).metadata, ours(json!({"promptFeedback": {"blockReason": "SAFETY"}})));
}

#[test]
fn only_a_reason_with_nothing_behind_it_ends_an_answer() {
    let mut ended = says(text("Hi"));
    ended["candidates"][0]["finishReason"] = "STOP".into();
    // Some models give a reason with every event.
    let whole = fold(&[ended.clone(), ended.clone()]);
    assert_eq!((whole.content(), finish(&whole).reason), (vec![Part::text("HiHi")], FinishReason::Stop));
    for events in [
        vec![],
        vec![says(text("Hi"))],
        vec![ended.clone(), says(text("more"))],
        vec![json!({"candidates": [{"finishReason": ""}]})],
        vec![json!({"candidates": [{"finishReason": null, "content": {}}]})],
        vec![json!({"candidates": [], "promptFeedback": {"safetyRatings": []}})],
        vec![json!({"candidates": [{"index": 1, "finishReason": "STOP"}]})],
    ] {
        assert_eq!(failure(&fold(&events)).cause, Cause::Truncated, "{events:?}");
    }
    // What says nothing takes nothing back, and a transport that fails later breaks nothing.
    let late = fold(&[ended.clone(), says(text("")), json!({"usageMetadata": {"promptTokenCount": 1}})]);
    assert_eq!((finish(&late).reason, late.usage().input), (FinishReason::Stop, Some(1)));
    let (mut decoder, mut parts) = (GeminiDecoder::new("p"), Vec::new());
    decoder.event(&ended.to_string(), &mut parts);
    decoder.fail(Failure::new("p", Cause::Reset), &mut parts);
    assert!(matches!(parts.last(), Some(ModelPart::Finish(_))), "{parts:?}");
}

#[test]
fn where_reasons_come_with_every_event_one_proves_nothing_against_a_stream_that_breaks() {
    let mut ended = says(text("Hi"));
    ended["candidates"][0]["finishReason"] = "STOP".into();
    let end = |events: &[&Value], how: &dyn Fn(&mut GeminiDecoder, &mut Vec<ModelPart>)| {
        let (mut decoder, mut parts) = (GeminiDecoder::new("p"), Vec::new());
        events.iter().for_each(|event| decoder.event(&event.to_string(), &mut parts));
        how(&mut decoder, &mut parts);
        match parts.pop() {
            Some(ModelPart::Failure(failure)) => Some(failure.cause),
            _ => None,
        }
    };
    let reset = |decoder: &mut GeminiDecoder, parts: &mut Vec<_>| {
        decoder.fail(Failure::new("p", Cause::Reset), parts);
    };
    let inside =
        |decoder: &mut GeminiDecoder, parts: &mut Vec<_>| decoder.end(Some("{\"candidates\":[{"), parts);
    let done = |decoder: &mut GeminiDecoder, parts: &mut Vec<_>| decoder.end(Some("[DONE]"), parts);
    let empty = ends("STOP");
    for events in [&[&ended, &ended][..], &[&empty, &ended]] {
        assert_eq!(end(events, &reset), Some(Cause::Reset));
        assert_eq!(end(events, &inside), Some(Cause::Truncated));
        assert_eq!(end(events, &done), None);
    }
    assert_eq!((end(&[&ended], &reset), end(&[&ended], &inside)), (None, None));
}

#[test]
fn an_event_cut_off_at_the_end_counts_only_if_it_is_terminal() {
    for (rest, ends_well) in [
        (r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}"#, true),
        (r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#, false),
        (r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"ST"#, false),
    ] {
        let (mut decoder, mut parts) = (GeminiDecoder::new("p"), Vec::new());
        decoder.end(Some(rest), &mut parts);
        let last = parts.last();
        assert_eq!(matches!(last, Some(ModelPart::Finish(_))), ends_well, "{rest}: {parts:?}");
        let truncated = matches!(last, Some(ModelPart::Failure(f)) if f.cause == Cause::Truncated);
        assert_eq!(truncated, !ends_well, "{rest}: {parts:?}");
    }
}

#[test]
fn an_event_behind_the_reason_counts_without_its_last_blank_line_too() {
    let end = |rest: &str| {
        let (mut decoder, mut parts) = (GeminiDecoder::new("p"), Vec::new());
        decoder.event(&ends("STOP").to_string(), &mut parts);
        decoder.end(Some(rest), &mut parts);
        let mut answer = Accumulator::new();
        parts.into_iter().for_each(|part| drop(answer.push(part)));
        answer
    };
    // The answer goes on: what is known of it was cut.
    let cut = end(&says(text("more")).to_string());
    assert_eq!((failure(&cut).cause, cut.content()), (Cause::Truncated, vec![Part::text("more")]));
    let counted = end(r#"{"usageMetadata":{"promptTokenCount":7}}"#);
    assert_eq!((finish(&counted).reason, counted.usage().input), (FinishReason::Stop, Some(7)));
    for rest in ["[DONE]", "{", "7"] {
        assert_eq!(finish(&end(rest)).reason, FinishReason::Stop, "{rest}");
    }
}

#[test]
fn a_reason_that_is_not_given_ends_nothing() {
    for event in [
        json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "FINISH_REASON_UNSPECIFIED"}]}),
        json!({"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}),
    ] {
        assert_eq!(failure(&fold(std::slice::from_ref(&event))).cause, Cause::Truncated, "{event}");
        assert_eq!(finish(&fold(&[event, ends("STOP")])).reason, FinishReason::Stop);
    }
}

#[test]
fn an_error_object_is_the_end_with_its_status_and_code() {
    let error = json!({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}});
    let answer = fold(&[says(text("Hi")), ends("STOP"), error, says(text("more"))]);
    let failure = failure(&answer);
    assert_eq!((failure.cause, failure.message.as_deref()), (Cause::InStream, Some("busy")));
    assert_eq!(
        (failure.error_type.as_deref(), failure.error_code.as_deref()),
        (Some("UNAVAILABLE"), Some("503"))
    );
    assert_eq!(answer.content(), [Part::text("Hi")]);
}

#[test]
fn what_does_not_decode_is_an_error_with_the_event() {
    for event in [
        json!([{"candidates": []}]),
        json!("words"),
        json!({"candidates": {}}),
        json!({"candidates": [{"finishReason": 7}]}),
        json!({"usageMetadata": {"promptTokenCount": "x"}}),
        says(json!("text")),
        says(json!({"text": 7})),
        says(calls(json!([]))),
        says(calls(json!({"args": {}}))),
        says(calls(json!({"name": "look", "partialArgs": [{"stringValue": "x"}]}))),
        says(calls(json!({"name": "look", "partialArgs": [{"jsonPath": "$.a[70000]", "numberValue": 1}]}))),
        says(calls(json!({"name": "look", "partialArgs": [{"jsonPath": "$.a[x]", "numberValue": 1}]}))),
        says(calls(
            json!({"name": "look", "partialArgs": [{"jsonPath": "$.a".repeat(70), "numberValue": 1}]}),
        )),
        says(json!({"inlineData": {"mimeType": "image/png"}})),
    ] {
        let answer = fold(&[event.clone(), ends("STOP")]);
        assert_eq!(failure(&answer).cause, Cause::Protocol, "{event}");
        assert_eq!(failure(&answer).body.as_deref(), Some(&*event.to_string()));
    }
}

#[test]
fn what_is_held_of_one_answer_is_bounded() {
    let many = vec![calls(json!({"name": "look"})); 5_000];
    assert_eq!(failure(&answer(&many, "STOP")).cause, Cause::Protocol);
    let large =
        says(json!({"inlineData": {"mimeType": "image/png", "data": "A".repeat(4 << 20)}})).to_string();
    let (mut decoder, mut parts) = (GeminiDecoder::new("p"), Vec::new());
    for _ in 0..16 {
        parts.clear();
        decoder.event(&large, &mut parts);
    }
    assert!(matches!(parts.last(), Some(ModelPart::Failure(failure)) if failure.cause == Cause::Protocol));
    // Few bytes ask for many items: 2 MB for each of these pieces, 20 times as much as may be held.
    let piece = |list: usize| {
        let piece = json!({"jsonPath": format!("$.a[{list}][65535]"), "numberValue": 1});
        says(calls(json!({"name": "look", "partialArgs": [piece]}))).to_string()
    };
    let (mut decoder, mut parts) = (GeminiDecoder::new("p"), Vec::new());
    (0..640).for_each(|list| decoder.event(&piece(list), &mut parts));
    assert!(matches!(parts.last(), Some(ModelPart::Failure(failure)) if failure.cause == Cause::Protocol));
}

/// Events of the format with others' words at their places.
fn any_event() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        4 => Just(json!("é😀")),
        2 => Just(json!("")),
        1 => Just(json!(null)),
        1 => Just(json!(7)),
        1 => Just(json!({"a": []})),
    ];
    let path = proptest::sample::select(&["$.a", "$.a[1]", "$['b']", "$", "$.a.b", "a"][..]);
    let part = prop_oneof![
        4 => word.clone().prop_map(|word| json!({"text": word})),
        2 => word.clone().prop_map(|word| json!({"text": word, "thought": true})),
        2 => word.clone().prop_map(|word| json!({"text": "x", "thoughtSignature": word})),
        3 => (word.clone(), any::<bool>()).prop_map(|(word, goes_on)| calls(json!({"name": "look", "id": word, "willContinue": goes_on}))),
        1 => word.clone().prop_map(|word| calls(json!({"name": "look", "args": word}))),
        3 => (path, word.clone(), any::<bool>()).prop_map(|(path, word, goes_on)| {
            calls(json!({"willContinue": goes_on, "partialArgs": [{"jsonPath": path, "stringValue": word, "willContinue": goes_on}]}))
        }),
        1 => Just(calls(json!({}))),
        1 => word.clone().prop_map(|word| json!({"executableCode": word})),
        1 => word.clone().prop_map(|word| json!({"inlineData": {"mimeType": "image/png", "data": word}})),
    ];
    prop_oneof![
        12 => part.prop_map(says),
        2 => proptest::sample::select(&["STOP", "MAX_TOKENS", "SAFETY", "NOVEL", ""][..]).prop_map(ends),
        1 => word.clone().prop_map(|word| json!({"candidates": [{"finishReason": word, "groundingMetadata": word}]})),
        1 => word.clone().prop_map(|word| json!({"usageMetadata": {"promptTokenCount": word}, "responseId": word})),
        1 => word.clone().prop_map(|word| json!({"promptFeedback": {"blockReason": word}})),
        1 => word.prop_map(|word| json!({"error": word})),
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
        let complete = parts.iter().any(|part| matches!(part, ModelPart::ToolCall { .. }));
        prop_assert!(finished || !complete, "a call is complete in a failed answer");
        let count = |of: fn(&ModelPart) -> bool| parts.iter().filter(|part| of(part)).count();
        let open = [
            count(|p| matches!(p, ModelPart::TextStart { .. })) - count(|p| matches!(p, ModelPart::TextEnd { .. })),
            count(|p| matches!(p, ModelPart::ReasoningStart { .. })) - count(|p| matches!(p, ModelPart::ReasoningEnd { .. })),
        ];
        prop_assert!(!finished || open == [0, 0], "a block of a finished answer is open");
    }
}
