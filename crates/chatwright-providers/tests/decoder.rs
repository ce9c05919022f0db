//! What servers that speak Chat Completions really send, and what they might.

use chatwright_core::accumulator::{Accumulator, End};
use chatwright_core::content::{Metadata, Part};
use chatwright_core::error::{Cause, Failure};
use chatwright_core::model::{FinishReason, ModelPart, Usage};
use chatwright_providers::{ChatDecoder, Decode};
use proptest::prelude::*;
use serde_json::{Value, json};

fn decode(events: &[String]) -> Vec<ModelPart> {
    let mut decoder = ChatDecoder::new("p", false);
    let mut parts = Vec::new();
    for event in events {
        decoder.event(event, &mut parts);
    }
    decoder.end(None, &mut parts);
    parts
}

/// Folds chunks with these deltas, then this finish reason and `[DONE]`.
fn answer(deltas: &[Value], reason: &str) -> Accumulator {
    let chunk = |delta: &Value| json!({"choices": [{"index": 0, "delta": delta}]}).to_string();
    let mut events: Vec<String> = deltas.iter().map(chunk).collect();
    events.push(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).to_string());
    events.push("[DONE]".to_owned());
    fold(&events)
}

fn fold(events: &[String]) -> Accumulator {
    let mut answer = Accumulator::new();
    decode(events).into_iter().for_each(|part| drop(answer.push(part)));
    answer
}

fn piece(call: &Value) -> Value {
    json!({ "tool_calls": [call] })
}

fn call(id: &str, name: &str, input: &str) -> Part {
    let (id, name, input) = (id.into(), name.into(), input.to_owned());
    Part::ToolCall { id, name, input, provider_executed: false, metadata: Metadata::new() }
}

fn failure(answer: &Accumulator) -> &Failure {
    match answer.end() {
        Some(End::Failure(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

fn usage_of(chunks: &[Value]) -> Usage {
    let mut events: Vec<String> = chunks.iter().map(Value::to_string).collect();
    events.push(json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}).to_string());
    events.push("[DONE]".to_owned());
    let answer = fold(&events);
    assert_eq!(answer.finish_reason(), Some(FinishReason::Stop), "{:?}", answer.end());
    answer.usage()
}

#[test]
fn a_call_that_a_limit_cut_is_never_a_call() {
    let cut =
        [piece(&json!({"index": 0, "id": "a", "function": {"name": "send", "arguments": "{\"to\":\"al"}}))];
    for reason in ["length", "content_filter", "error", "insufficient_system_resource"] {
        let answer = answer(&cut, reason);
        assert_eq!(answer.content(), [], "{reason}");
        assert_eq!(answer.cut_calls().len(), 1, "{reason}");
    }
    let begun = [piece(&json!({"index": 0, "id": "a", "function": {"name": "send", "arguments": ""}}))];
    assert_eq!(
        answer(&begun, "length").content(),
        [],
        "no arguments at a limit are arguments that did not come"
    );
}

#[test]
fn a_whole_call_before_a_limit_is_a_call() {
    let calls = [
        piece(&json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}})),
        piece(&json!({"index": 1, "id": "b", "function": {"name": "f", "arguments": "{\"x\":"}})),
    ];
    assert_eq!(answer(&calls, "length").content(), [call("a", "f", "{\"x\":1}")]);
}

#[test]
fn arguments_that_the_model_got_wrong_are_kept_as_they_came() {
    let wrong = [piece(&json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":"}}))];
    assert_eq!(answer(&wrong, "tool_calls").content(), [call("a", "f", "{\"x\":")]);
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    let begun = [piece(&json!({"index": 0, "id": "a", "function": {"name": "now", "arguments": ""}}))];
    assert_eq!(answer(&begun, "tool_calls").content(), [call("a", "now", "{}")]);
}

#[test]
fn whole_calls_without_index_and_id_are_calls_of_their_own() {
    let whole = |at: u8| json!({"function": {"name": "look", "arguments": format!("{{\"at\":{at}}}")}});
    let in_one = answer(&[json!({"tool_calls": [whole(1), whole(2)]})], "tool_calls");
    let in_two = answer(&[piece(&whole(1)), piece(&whole(2))], "tool_calls");
    let expected = [call("call_0", "look", "{\"at\":1}"), call("call_1", "look", "{\"at\":2}")];
    assert_eq!(in_one.content(), expected);
    assert_eq!(in_two.content(), expected);
}

#[test]
fn calls_that_share_an_index_are_told_apart_by_id_and_name() {
    let deltas = [
        piece(&json!({"index": 0, "id": "a", "function": {"name": "look", "arguments": "{}"}})),
        piece(&json!({"index": 0, "id": "b", "function": {"name": "look", "arguments": "{}"}})),
    ];
    assert_eq!(answer(&deltas, "tool_calls").content(), [call("a", "look", "{}"), call("b", "look", "{}")]);
}

#[test]
fn pieces_of_one_index_are_one_call_whatever_id_they_carry() {
    let same = [
        piece(&json!({"index": 0, "id": "a", "function": {"name": "look", "arguments": "{\"at\""}})),
        piece(&json!({"index": 0, "id": "a", "function": {"name": "look", "arguments": ":"}})),
        piece(&json!({"index": 0, "id": "", "function": {"name": "", "arguments": "1"}})),
        piece(&json!({"index": 0, "id": null, "function": {"name": null, "arguments": "}"}})),
    ];
    assert_eq!(answer(&same, "tool_calls").content(), [call("a", "look", "{\"at\":1}")]);
    // Some servers make up a new id for every piece.
    let new = [
        piece(&json!({"index": 0, "id": "a", "function": {"name": "look", "arguments": "{\"at\""}})),
        piece(&json!({"index": 0, "id": "x", "function": {"arguments": ":1"}})),
        piece(&json!({"index": 0, "id": "y", "function": {"arguments": "}"}})),
    ];
    assert_eq!(answer(&new, "tool_calls").content(), [call("a", "look", "{\"at\":1}")]);
}

#[test]
fn interleaved_calls_and_an_id_or_a_name_that_comes_late_fold_by_index() {
    let deltas = [
        piece(&json!({"index": 0, "function": {"name": "lo"}})),
        piece(&json!({"index": 0, "id": "a", "function": {"name": "ok"}})),
        piece(&json!({"index": 1, "id": "b", "function": {"name": "find", "arguments": "{"}})),
        piece(&json!({"index": 0, "function": {"arguments": "{\"x\":1"}})),
        piece(&json!({"index": 1, "function": {"arguments": "}"}})),
        piece(&json!({"index": 0, "function": {"arguments": "}"}})),
    ];
    let mut content = answer(&deltas, "tool_calls").content();
    content.sort_by_key(|part| format!("{part:?}"));
    assert_eq!(content, [call("a", "look", "{\"x\":1}"), call("b", "find", "{}")]);
}

#[test]
fn no_call_is_complete_before_the_terminal_event() {
    let whole = piece(&json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}));
    let chunk = |reason: Value| json!({"choices": [{"delta": whole, "finish_reason": reason}]}).to_string();
    let mut decoder = ChatDecoder::new("p", false);
    let mut parts = Vec::new();
    decoder.event(&chunk(json!("tool_calls")), &mut parts);
    assert!(
        !parts.iter().any(|part| matches!(part, ModelPart::ToolCall { .. } | ModelPart::ToolInputEnd { .. }))
    );
}

#[test]
fn nulls_and_odd_types_where_nothing_hangs_on_them_end_no_answer() {
    let events = [
        json!({"id": 7, "choices": null, "usage": null, "error": null}),
        json!({"id": null, "choices": [{"index": null, "delta": {"content": "Hi", "reasoning": {"novel": 1}}}]}),
        json!({"choices": [{"index": 0, "delta": {"content": null, "reasoning_content": null, "tool_calls": null}}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 3.0, "completion_tokens": null, "prompt_tokens_details": []}}),
        json!({"choices": [{"index": 0, "delta": null, "finish_reason": "stop"}]}),
    ];
    let mut events: Vec<String> = events.iter().map(Value::to_string).collect();
    events.extend(["".to_owned(), "[DONE]".to_owned()]);
    let answer = fold(&events);
    assert_eq!(answer.content(), [Part::text("Hi")]);
    assert_eq!(answer.finish_reason(), Some(FinishReason::Stop), "{:?}", answer.end());
    assert_eq!(answer.usage(), Usage { input: Some(3), ..Usage::default() });
}

#[test]
fn usage_is_read_in_the_words_of_every_server() {
    let deepseek = json!({"usage": {"prompt_tokens": 339, "completion_tokens": 83, "total_tokens": 422,
        "completion_tokens_details": {"reasoning_tokens": 39}, "prompt_cache_hit_tokens": 320}});
    let expected = |input, output, reasoning, cache_read| Usage {
        input,
        output,
        reasoning,
        cache_read,
        cache_write: None,
    };
    assert_eq!(usage_of(&[deepseek]), expected(Some(19), Some(83), Some(39), Some(320)));
    // xAI leaves reasoning out of the completion; the total gives it away.
    let xai = json!({"usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 354,
        "prompt_tokens_details": {"cached_tokens": 11}, "completion_tokens_details": {"reasoning_tokens": 340}}});
    assert_eq!(usage_of(&[xai]), expected(Some(1), Some(342), Some(340), Some(11)));
    let azure = json!({"usage": {"prompt_tokens": 19, "total_tokens": 1739, "completion_tokens": 1720,
        "prompt_tokens_details": null, "reasoning_tokens": 5}});
    assert_eq!(usage_of(&[azure]), expected(Some(19), Some(1720), Some(5), None));
    let moonshot = json!({"choices": [{"index": 0, "delta": {}, "usage":
        {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21, "cached_tokens": 4}}]});
    assert_eq!(usage_of(&[moonshot]), expected(Some(5), Some(12), None, Some(4)));
    let groq =
        json!({"choices": [], "x_groq": {"id": "r", "usage": {"prompt_tokens": 2, "completion_tokens": 3}}});
    assert_eq!(usage_of(&[groq]), expected(Some(2), Some(3), None, None));
}

#[test]
fn an_error_is_told_in_whatever_shape_it_comes() {
    let words = |event: &Value| {
        let answer = fold(&[event.to_string()]);
        let failure = failure(&answer).clone();
        assert_eq!(failure.cause, Cause::InStream, "{event}");
        (failure.error_type, failure.error_code, failure.message)
    };
    let told = |kind: Option<&str>, code: Option<&str>, message: &str| {
        (kind.map(Into::into), code.map(Into::into), Some(message.into()))
    };
    assert_eq!(
        words(
            &json!({"error": {"type": "server_error", "code": null, "message": "busy"}, "choices": [{"delta": {}, "finish_reason": "error"}]})
        ),
        told(Some("server_error"), None, "busy")
    );
    assert_eq!(words(&json!({"error": {"code": 502, "message": "bad"}})), told(None, Some("502"), "bad"));
    assert_eq!(words(&json!({"error": "busy"})), told(None, None, "busy"));
    assert_eq!(
        words(&json!({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400})),
        told(Some("BadRequestError"), Some("400"), "too long")
    );
}

#[test]
fn an_event_that_does_not_decode_is_a_protocol_failure() {
    for event in ["{\"cho", "7", "[]", "null", "{\"choices\":[{\"delta\":{\"content\":5}}]}", "[DONE] "] {
        let expected = if event.starts_with("[DONE]") { Cause::Truncated } else { Cause::Protocol };
        assert_eq!(failure(&fold(&[event.to_owned()])).cause, expected, "{event}");
    }
}

#[test]
fn usage_tells_what_was_written_to_a_cache() {
    let openrouter = json!({"usage": {"prompt_tokens": 20, "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 8}}});
    let litellm = json!({"usage": {"prompt_tokens": 20, "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_creation_tokens": 8}, "cache_creation_input_tokens": 8}});
    let expected =
        Usage { input: Some(7), output: Some(3), reasoning: None, cache_read: Some(5), cache_write: Some(8) };
    assert_eq!(usage_of(&[openrouter]), expected);
    assert_eq!(usage_of(&[litellm]), expected);
}

#[test]
fn an_answer_with_calls_waits_for_tools_whatever_the_server_calls_its_end() {
    // OpenAI says `stop` where the choice of a tool was forced.
    let called = [piece(&json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}))];
    assert_eq!(answer(&called, "stop").finish_reason(), Some(FinishReason::ToolCalls));
    assert_eq!(answer(&called, "length").finish_reason(), Some(FinishReason::Length));
    assert_eq!(answer(&[json!({"content": "Hi"})], "stop").finish_reason(), Some(FinishReason::Stop));
}

#[test]
fn every_event_is_a_sign_of_life() {
    let silent = [
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
        json!({"choices": []}),
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ];
    let mut decoder = ChatDecoder::new("p", false);
    for event in silent {
        let mut parts = Vec::new();
        decoder.event(&event.to_string(), &mut parts);
        assert_eq!(parts, [ModelPart::KeepAlive], "{event}");
    }
}

#[test]
fn an_end_without_its_last_blank_line_is_read_if_it_came_whole() {
    let ended = |end_after_finish: bool, rest: &str| {
        let mut decoder = ChatDecoder::new("p", end_after_finish);
        let mut parts = Vec::new();
        decoder.end(Some(rest), &mut parts);
        assert_eq!(parts.iter().filter(|part| part.is_terminal()).count(), 1, "{rest}");
        match parts.pop() {
            Some(ModelPart::Failure(failure)) => Err(failure.cause),
            Some(ModelPart::Finish(finish)) => Ok(finish.reason),
            other => panic!("not the end of a stream: {other:?}"),
        }
    };
    let error = r#"{"error": {"message": "the context is too long", "code": "context_length_exceeded"}}"#;
    assert_eq!(ended(false, error), Err(Cause::InStream));
    assert_eq!(ended(false, &error[..60]), Err(Cause::Truncated));
    let last = r#"{"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}"#;
    assert_eq!(ended(true, last), Ok(FinishReason::Stop));
    assert_eq!(ended(false, last), Err(Cause::Truncated));
    assert_eq!(
        ended(true, r#"{"choices": [{"index": 0, "delta": {"content": "Hi"}}]}"#),
        Err(Cause::Truncated)
    );
}

#[test]
fn whole_calls_that_share_an_index_and_have_no_ids_are_calls_of_their_own() {
    let whole = |name: &str, at: u8| {
        piece(
            &json!({"index": 0, "id": "", "function": {"name": name, "arguments": format!("{{\"at\":{at}}}")}}),
        )
    };
    let deltas = [whole("look", 1), whole("look", 2), whole("find", 3)];
    let expected = [
        call("call_0", "look", "{\"at\":1}"),
        call("call_1", "look", "{\"at\":2}"),
        call("call_2", "find", "{\"at\":3}"),
    ];
    assert_eq!(answer(&deltas, "tool_calls").content(), expected);
    let named =
        |arguments: &str| piece(&json!({"index": 0, "function": {"name": "look", "arguments": arguments}}));
    let pieces = [named("{\"at\""), named(": {}"), named("}"), named(""), named("\n")];
    assert_eq!(answer(&pieces, "tool_calls").content(), [call("call_0", "look", "{\"at\": {}}\n")]);
}

#[test]
fn an_error_of_a_choice_or_of_groq_ends_the_answer() {
    let of_choice = json!({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error",
        "error": {"code": 502, "message": "the provider is gone"}}]});
    let of_groq = json!({"choices": [], "x_groq": {"id": "r", "error": "the provider is gone"}});
    for event in [of_choice, of_groq] {
        let answer = fold(&[event.to_string(), "[DONE]".to_owned()]);
        assert_eq!(failure(&answer).cause, Cause::InStream, "{event}");
        assert_eq!(failure(&answer).message.as_deref(), Some("the provider is gone"), "{event}");
    }
}

#[test]
fn arguments_in_many_pieces_that_repeat_the_name_are_linear() {
    let piece = |arguments: &str| {
        let call = json!({"function": {"name": "look", "arguments": arguments}});
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).to_string()
    };
    let (mut decoder, mut parts) = (ChatDecoder::new("p", false), Vec::new());
    decoder.event(&piece("{\"at\":[{\"}\\\"\":0}"), &mut parts);
    let more = piece(",{}");
    for _ in 0..100_000 {
        parts.clear();
        decoder.event(&more, &mut parts);
    }
    decoder.event(&piece("]}"), &mut parts);
    decoder.event(&piece("{}"), &mut parts);
    let begun = |part: &&ModelPart| matches!(part, ModelPart::ToolInputStart { .. });
    assert_eq!(parts.iter().filter(begun).count(), 1, "only what follows whole arguments is another call");
}

#[test]
fn a_thought_that_may_be_demanded_back_says_where_it_came() {
    let thought = |field: Option<&str>| {
        let fields = field.map(|field| ("p".into(), json!({"field": field})));
        Part::Reasoning { text: "Hm. So.".to_owned(), metadata: fields.into_iter().collect() }
    };
    let said = |name: &str| [json!({name: "Hm. "}), json!({name: "So."}), json!({"content": "Hi"})];
    let demanded = answer(&said("reasoning_content"), "stop").content();
    assert_eq!(demanded, [thought(Some("reasoning_content")), Part::text("Hi")]);
    assert_eq!(answer(&said("reasoning"), "stop").content(), [thought(None), Part::text("Hi")]);
}

/// JSON with the words of the format at its places, and others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![
            Just("stop"),
            Just("error"),
            Just("{}"),
            Just("a"),
            Just("{\"x\""),
            Just("é😀"),
            Just("")
        ]
        .prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("choices"),
        Just("delta"),
        Just("index"),
        Just("content"),
        Just("reasoning_content"),
        Just("reasoning"),
        Just("refusal"),
        Just("tool_calls"),
        Just("function"),
        Just("name"),
        Just("arguments"),
        Just("id"),
        Just("finish_reason"),
        Just("usage"),
        Just("prompt_tokens"),
        Just("error"),
        Just("type"),
        Just("text"),
        Just("x_groq"),
        Just("object"),
        Just("thinking"),
    ];
    leaf.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner.clone(), 0..5)
                .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            inner.clone().prop_map(|delta| json!({"choices": [{"index": 0, "delta": delta}]})),
            inner.clone().prop_map(|call| json!({"choices": [{"delta": {"tool_calls": [call]}}]})),
            inner.prop_map(|function| json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]})),
        ]
    })
}

proptest! {
    #[test]
    fn any_events_end_in_exactly_one_terminal_part_and_the_order_holds(
        events in proptest::collection::vec(prop_oneof![
            8 => any_json().prop_map(|value| value.to_string()),
            1 => Just("[DONE]".to_owned()),
            1 => "\\PC{0,20}",
        ], 0..20),
    ) {
        let parts = decode(&events);
        prop_assert_eq!(parts.iter().filter(|part| part.is_terminal()).count(), 1);
        prop_assert!(parts.last().is_some_and(ModelPart::is_terminal));
        let finished = matches!(parts.last(), Some(ModelPart::Finish(_)));
        let complete = parts.iter().any(|part| matches!(part, ModelPart::ToolCall { .. }));
        prop_assert!(finished || !complete, "a call is complete in a failed answer");
        let open = |start: fn(&ModelPart) -> bool, end: fn(&ModelPart) -> bool| {
            parts.iter().filter(|part| start(part)).count() - parts.iter().filter(|part| end(part)).count()
        };
        let texts = open(|p| matches!(p, ModelPart::TextStart { .. }), |p| matches!(p, ModelPart::TextEnd { .. }));
        prop_assert!(texts <= usize::from(!finished), "a block of a finished answer is open");
    }
}
