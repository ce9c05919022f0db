//! Whatever is said, no provider refuses it for its form. The rules here are those that the providers' APIs enforce.

use std::collections::BTreeSet;

use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::model::{Message, ModelCall, Role};
use chatwright_providers::{AnthropicMessages, Gemini, OpenAiChat, OpenAiResponses};
use proptest::prelude::*;
use serde_json::{Value, json};

type Refused = Result<(), String>;

fn refuse_unless(holds: bool, why: impl Fn() -> String) -> Refused {
    if holds { Ok(()) } else { Err(why()) }
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn is_object(json: &str) -> bool {
    serde_json::from_str::<Value>(json).is_ok_and(|value| value.is_object())
}

/// Sides take turns, and nobody says nothing.
fn turns(messages: &[Value], parts: &str, first: &str) -> Refused {
    for (at, message) in messages.iter().enumerate() {
        refuse_unless(!items(message, parts).is_empty(), || format!("message {at} is empty"))?;
        let same = at > 0 && messages[at - 1]["role"] == message["role"];
        refuse_unless(!same, || format!("message {at} is of the same side as the one before"))?;
    }
    let begins = messages.first().is_none_or(|message| message["role"] == first);
    refuse_unless(begins, || format!("the first message is not of {first}"))
}

/// Anthropic's Messages.
fn anthropic(body: &Value) -> Refused {
    let messages = items(body, "messages");
    // Who begins is not checked there any more.
    turns(messages, "content", messages.first().map_or("", |first| text(first, "role")))?;
    let (mut ids, mut waiting, mut running) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for (at, message) in messages.iter().enumerate() {
        let blocks = items(message, "content");
        let is_answer = message["role"] == "assistant";
        let results = blocks.iter().take_while(|block| block["type"] == "tool_result");
        let results: Vec<&str> = results.map(|block| text(block, "tool_use_id")).collect();
        refuse_unless(results == waiting, || format!("{at}: {results:?} for {waiting:?}"))?;
        waiting.clear();
        let speaks = !is_answer && blocks.len() > results.len();
        refuse_unless(!speaks || running.is_empty(), || format!("{at}: {running:?} have no result"))?;
        for block in &blocks[results.len()..] {
            let id = text(block, "id");
            let is_id =
                !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            match text(block, "type") {
                "text" => {
                    refuse_unless(!text(block, "text").trim().is_empty(), || format!("{at}: a blank text"))?;
                }
                "tool_use" | "server_tool_use" => {
                    let fresh = ids.insert(id.to_owned()) && is_id && block["input"].is_object() && is_answer;
                    refuse_unless(fresh, || format!("{at}: {block}"))?;
                    if block["type"] == "tool_use" {
                        waiting.push(id);
                    } else {
                        running.insert(id);
                    }
                }
                "web_search_tool_result" => {
                    let known = running.remove(text(block, "tool_use_id"));
                    refuse_unless(known && is_answer, || format!("{at}: hits of no search"))?;
                }
                "thinking" => refuse_unless(is_answer && !text(block, "signature").is_empty(), || {
                    format!("{at}: unsigned")
                })?,
                "image" | "document" => refuse_unless(!is_answer, || format!("{at}: a file in an answer"))?,
                "novel" => {}
                other => return Err(format!("{at}: a block of type {other}")),
            }
        }
        let thinks = is_answer && blocks.last().is_some_and(|block| block["type"] == "thinking");
        refuse_unless(!thinks, || format!("{at}: an answer ends in a thought"))?;
    }
    refuse_unless(waiting.is_empty(), || format!("{waiting:?} have no result"))
}

/// Google's Gemini.
fn gemini(body: &Value) -> Refused {
    let contents = items(body, "contents");
    let begins_with_call = items(contents.first().unwrap_or(&Value::Null), "parts")
        .iter()
        .any(|part| part.get("functionCall").is_some());
    refuse_unless(!begins_with_call, || "a call comes behind nothing".to_owned())?;
    turns(contents, "parts", contents.first().map_or("", |first| text(first, "role")))?;
    let mut waiting: Vec<&str> = Vec::new();
    for (at, content) in contents.iter().enumerate() {
        let parts = items(content, "parts");
        let named = |name: &'static str| {
            parts.iter().filter_map(move |part| part.get(name)).map(|call| text(call, "name"))
        };
        let given: Vec<&str> = named("functionResponse").collect();
        refuse_unless(given == waiting, || format!("{at}: {given:?} for {waiting:?}"))?;
        waiting = named("functionCall").collect();
        for part in parts {
            let blank = part["text"].as_str().is_some_and(|text| text.trim().is_empty());
            refuse_unless(!blank || part.get("thoughtSignature").is_some(), || {
                format!("{at}: a blank text")
            })?;
            let args = part.get("functionCall").is_none_or(|call| call["args"].is_object());
            refuse_unless(args, || format!("{at}: {part}"))?;
        }
    }
    refuse_unless(waiting.is_empty(), || format!("{waiting:?} have no result"))
}

/// OpenAI's Chat Completions.
fn chat(body: &Value) -> Refused {
    let mut waiting: BTreeSet<&str> = BTreeSet::new();
    for (at, message) in items(body, "messages").iter().enumerate() {
        if message["role"] == "tool" {
            let known = waiting.remove(text(message, "tool_call_id"));
            refuse_unless(known && message["content"].is_string(), || format!("{at}: a result of no call"))?;
            continue;
        }
        refuse_unless(waiting.is_empty(), || format!("{at}: {waiting:?} have no result"))?;
        let calls = items(message, "tool_calls");
        let says =
            !calls.is_empty() || message["content"].is_string() || !items(message, "content").is_empty();
        refuse_unless(says, || format!("{at} says nothing"))?;
        for call in calls {
            let id = text(call, "id");
            let fresh = !id.is_empty() && id.len() <= 40 && waiting.insert(id);
            let whole = is_object(text(&call["function"], "arguments"));
            refuse_unless(fresh && whole, || format!("{at}: {call}"))?;
        }
    }
    refuse_unless(waiting.is_empty(), || format!("{waiting:?} have no result"))
}

/// OpenAI's Responses.
fn responses(body: &Value) -> Refused {
    let input = items(body, "input");
    let (mut waiting, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (at, item) in input.iter().enumerate() {
        let id = text(item, "id");
        refuse_unless(id.is_empty() || ids.insert(id), || format!("{at}: {id} comes again"))?;
        let call_id = text(item, "call_id");
        match text(item, "type") {
            "message" => {
                let blank = |piece: &Value| {
                    text(piece, "type").ends_with("text") && text(piece, "text").trim().is_empty()
                };
                let content = items(item, "content");
                refuse_unless(!content.is_empty() && !content.iter().any(blank), || format!("{at}: {item}"))?;
            }
            "function_call" => {
                let fresh = !call_id.is_empty()
                    && call_id.len() <= 64
                    && ids.insert(call_id)
                    && waiting.insert(call_id);
                refuse_unless(fresh && is_object(text(item, "arguments")), || format!("{at}: {item}"))?;
            }
            "function_call_output" => refuse_unless(waiting.remove(call_id), || format!("{at}: {item}"))?,
            "reasoning" => {
                let led = input.get(at + 1).is_some_and(|next| {
                    !matches!(text(next, "role"), "user" | "developer")
                        && next["type"] != "function_call_output"
                });
                refuse_unless(led, || format!("{at}: a thought that led to nothing"))?;
            }
            "web_search_call" | "novel" => {}
            other => return Err(format!("{at}: an item of type {other}")),
        }
    }
    refuse_unless(waiting.is_empty(), || format!("{waiting:?} have no result"))
}

/// What every provider would have attached.
fn signed(number: usize, run: Option<&str>) -> Metadata {
    let (anthropic, item) = match run {
        Some(id) => (
            json!({"type": "server_tool_use", "block": {"type": "web_search_tool_result", "tool_use_id": id, "content": []}}),
            json!({"type": "web_search_call", "id": id}),
        ),
        None => (
            json!({"signature": "c2ln"}),
            json!({"type": "reasoning", "id": format!("rs_{number}"), "encrypted_content": "x", "summary": []}),
        ),
    };
    let google = json!({"thoughtSignature": "c2ln"});
    [("anthropic".into(), anthropic), ("openai".into(), json!({"item": item})), ("google".into(), google)]
        .into()
}

fn any_part() -> impl Strategy<Value = (u8, usize, bool)> {
    (0..15_u8, 0..4_usize, any::<bool>())
}

fn part(number: usize, (kind, which, is_signed): (u8, usize, bool)) -> Part {
    let metadata = if is_signed { signed(number, None) } else { Metadata::new() };
    let words = [" ", "", "So. ", "Yes."][which].to_owned();
    let id: Box<str> = ["a", "f:1", "", "b"][which].into();
    let output =
        [Output::text("1"), Output::error(""), Output::text(" "), Output::error("no")][which].clone();
    let name: Box<str> = "look".into();
    // The provider mints those, and apart from all others.
    let run: Box<str> = ["srv_1", "srv_2", "", "srv_1"][which].into();
    match kind {
        0..=2 => Part::Text { text: words, metadata: Metadata::new() },
        3 | 4 => Part::Reasoning { text: words, metadata },
        5..=7 => {
            let input = ["{}", "[1]", "{\"at\":", "\"x\""][which].to_owned();
            Part::ToolCall { id, name, input, provider_executed: false, metadata: Metadata::new() }
        }
        8..=10 => Part::ToolResult {
            call_id: id,
            name,
            output,
            provider_executed: false,
            metadata: Metadata::new(),
        },
        11 => {
            let input = ["{}", "{", "{}", "{}"][which].to_owned();
            let metadata = signed(number, Some(&run));
            Part::ToolCall { id: run, name: "web_search".into(), input, provider_executed: true, metadata }
        }
        12 => {
            let metadata = signed(number, Some(&run));
            Part::ToolResult {
                call_id: run,
                name: "web_search".into(),
                output,
                provider_executed: true,
                metadata,
            }
        }
        13 => Part::Unknown(match which {
            0 => json!({"type": "anthropic.novel", "block": {"type": "novel"}}),
            1 => json!({"type": "openai.novel", "item": {"type": "novel"}}),
            _ => json!({"type": "novel"}),
        }),
        _ => Part::File {
            media_type: "image/png".into(),
            name: None,
            data: FileData::Base64("AA==".into()),
            metadata: Metadata::new(),
        },
    }
}

fn any_prompt() -> impl Strategy<Value = Vec<Message>> {
    use Role::{Assistant, System, Tool, User};
    let role = prop_oneof![1 => Just(System), 3 => Just(User), 5 => Just(Assistant), 4 => Just(Tool)];
    let message = (role, proptest::collection::vec(any_part(), 0..5));
    proptest::collection::vec(message, 0..12).prop_map(|messages| {
        let mut number = 0;
        let messages = messages.into_iter().map(|(role, parts)| {
            let parts = parts.into_iter().map(|of| {
                number += 1;
                part(number, of)
            });
            // Only answers have what nobody here knows.
            let parts = parts.filter(|part| role == Assistant || !matches!(part, Part::Unknown(_)));
            Message::new(role, parts)
        });
        messages.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// C4.
    #[test]
    fn no_provider_refuses_a_prompt_for_its_form_whatever_was_said(prompt in any_prompt()) {
        let call = ModelCall::new(prompt);
        let body = AnthropicMessages::builder("m").build().expect("valid").request_body(&call);
        prop_assert_eq!(anthropic(&body), Ok(()), "Anthropic: {:#}", body);
        let body = Gemini::builder("gemini-3-pro").build().expect("valid").request_body(&call);
        prop_assert_eq!(gemini(&body), Ok(()), "Gemini: {:#}", body);
        let body = OpenAiChat::builder("m").build().expect("valid").request_body(&call);
        prop_assert_eq!(chat(&body), Ok(()), "Chat: {:#}", body);
        let body = OpenAiResponses::builder("m").build().expect("valid").request_body(&call);
        prop_assert_eq!(responses(&body), Ok(()), "Responses: {:#}", body);
    }
}
