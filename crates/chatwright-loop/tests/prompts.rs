//! What models are sent.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::content::{FileData, Metadata, Output, Part};
use chatwright_core::head::Status;
use chatwright_core::model::{FinishReason, Message, ModelCall, ModelPart, Role};
use chatwright_core::port::Tool;
use chatwright_core::record::Decision;
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use chatwright_loop::{Asked, Chats, NewMessage};
use chatwright_providers::{AnthropicMessages, Gemini, OpenAiChat, OpenAiResponses};
use serde_json::{Value, json};

use common::{RuleModel, World, call, finish, log, new_chat, records, say, text, until, work};

fn run(id: &str) -> ModelPart {
    ModelPart::ToolCall {
        id: id.into(),
        name: "search".into(),
        input: "{}".to_owned(),
        provider_executed: true,
        metadata: Metadata::from([("p".into(), json!({"sealed": id}))]),
    }
}

fn found(id: &str) -> ModelPart {
    ModelPart::Item(Part::ToolResult {
        call_id: id.into(),
        name: "search".into(),
        output: Output::text("cats"),
        provider_executed: true,
        metadata: Metadata::from([("p".into(), json!({"sealed": "hits"}))]),
    })
}

async fn send(chats: &Chats, chat: chatwright_core::ChatId, words: &str) {
    chats.send(chat, NewMessage::text(words)).await.expect("it is taken");
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_repaired_once_and_stored_before_it_is_sent() {
    let world = World::new();
    let model = RuleModel::new(|prompt| match prompt.len() {
        1 => [text("So."), vec![run("s"), finish(FinishReason::Stop)]].concat(),
        _ => say("Yes."),
    });
    let chats = world.process_with(model.clone(), Vec::new());
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("Look")).await.expect("created");
    until(&chats, chat, Status::Waiting).await;
    for words in ["And?", "So?"] {
        send(&chats, chat, words).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        until(&chats, chat, Status::Waiting).await;
    }
    let log = log(&chats, chat).await;
    assert_eq!(log.matches("prompt.repaired").count(), 1, "{log}");
    let (before, after) = log.split_once("prompt.repaired").expect("it is there");
    assert!(before.ends_with("attempt.started\n") && after.starts_with("\nattempt.ended"), "{log}");
    let prompts = model.prompts.lock().clone();
    let said = Message::new(Role::Assistant, vec![Part::text("So.")]);
    assert_eq!(prompts[1][1], said, "nobody waits for the hits any more");
    assert!(prompts[2].starts_with(&prompts[1]));
}

#[tokio::test(start_paused = true)]
async fn of_a_stopped_answer_no_half_of_what_the_provider_ran_is_stored() {
    let world = World::new();
    let chats = world.process_with(
        RuleModel::new(|_| {
            let mut parts = vec![run("whole"), found("whole")];
            parts.extend(text("So. "));
            parts.extend([run("half"), ModelPart::KeepAlive]);
            parts
        }),
        Vec::new(),
    );
    let _worker = work(&chats);
    let (chat, _) = chats.create(new_chat("Look")).await.expect("created");
    tokio::time::sleep(Duration::from_secs(1)).await;
    chats.interrupt(chat, None).await.expect("it runs");
    until(&chats, chat, Status::Waiting).await;
    let stored = serde_json::to_string(&records(&chats, chat).await).expect("records encode");
    assert!(stored.contains("whole") && stored.contains("hits"), "{stored}");
    assert!(!stored.contains("half"), "{stored}");
}

/// What each wire format makes of a prompt: what is asked again each time, and the conversation.
fn bodies(prompt: &[Message]) -> Vec<(&'static str, Value, Vec<Value>)> {
    let call = ModelCall::new(prompt.to_vec());
    let chat = OpenAiChat::builder("m").build().expect("valid").request_body(&call);
    let responses = OpenAiResponses::builder("m").build().expect("valid").request_body(&call);
    let anthropic = AnthropicMessages::builder("m").no_prompt_caching().build().expect("valid");
    let gemini = Gemini::builder("gemini-3-pro").build().expect("valid").request_body(&call);
    let all = [
        ("messages", chat),
        ("input", responses),
        ("messages", anthropic.request_body(&call)),
        ("contents", gemini),
    ];
    let split = |(name, mut body): (&'static str, Value)| match body[name].take() {
        Value::Array(conversation) => (name, body, conversation),
        other => panic!("{name} is {other}"),
    };
    all.into_iter().map(split).collect()
}

fn text_of(values: &[Value]) -> String {
    let text = serde_json::to_string(values).expect("JSON");
    text.strip_suffix(']').expect("a list").to_owned()
}

fn begins_like(before: &[Message], after: &[Message]) {
    assert!(after.starts_with(before), "{after:#?}\ndoes not begin with\n{before:#?}");
    for ((_, asked, said), (name, asks, says)) in bodies(before).into_iter().zip(bodies(after)) {
        assert_eq!(asked, asks, "{name}");
        assert!(
            text_of(&says).starts_with(&text_of(&said)),
            "{name}:\n{says:#?}\ndoes not begin with\n{said:#?}"
        );
    }
}

/// Comes back long after its deadline.
struct Late;

#[async_trait]
impl Tool for Late {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("late", "is late", json!({"type": "object"}), Effect::Once)
            .with_deadline(Duration::from_secs(1))
    }

    async fn call(&self, _: ToolCall) -> Output {
        tokio::time::sleep(Duration::from_secs(7)).await;
        Output::text("too late")
    }
}

struct Asks;

#[async_trait]
impl Tool for Asks {
    fn spec(&self) -> ToolSpec {
        ToolSpec::new("ask", "asks", json!({"type": "object"}), Effect::Once).with_approval()
    }

    async fn call(&self, call: ToolCall) -> Output {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Output::text(call.input.to_string())
    }
}

/// C4, W31: a provider reads all of what it was sent before from its cache.
#[tokio::test(start_paused = true)]
async fn the_prompt_of_a_step_is_the_beginning_of_the_next_ones_in_every_wire_format() {
    let world = World::new();
    let thought = || {
        let metadata = Metadata::from([("anthropic".into(), json!({"signature": "c2ln"}))]);
        [
            ModelPart::ReasoningDelta { id: "r".into(), delta: "Hm.".to_owned(), metadata: Metadata::new() },
            ModelPart::ReasoningEnd { id: "r".into(), metadata },
        ]
    };
    let calling = move |calls: &[(&str, &str)]| {
        let calls = calls.iter().map(|(id, name)| call(id, name, r#"{"n":1}"#));
        let parts = thought().into_iter().chain(text("One. ")).chain(calls);
        parts.chain([finish(FinishReason::ToolCalls)]).collect::<Vec<_>>()
    };
    let model = RuleModel::new(move |prompt| {
        let turn = prompt.iter().rev().take_while(|message| message.role != Role::User);
        match turn.filter(|message| message.role == Role::Assistant).count() {
            0 => calling(&[("c", "late"), ("c", "nothing"), ("d", "late")]),
            1 => calling(&[("c", "ask")]),
            2 => [thought().into(), vec![run("s"), found("s"), finish(FinishReason::Pause)]].concat(),
            _ => say("Done."),
        }
    });
    let chats = world.process_with(model.clone(), vec![Arc::new(Late), Arc::new(Asks)]);
    let _worker = work(&chats);
    let mut new = new_chat("Look at this");
    new.system = Some("Be brief.".to_owned());
    new.content.push(Part::File {
        media_type: "text/csv".into(),
        name: Some("cats.csv".into()),
        data: FileData::Base64("YSxi".into()),
        metadata: Metadata::new(),
    });
    let (chat, _) = chats.create(new).await.expect("created");
    for turn in 0..2 {
        until(&chats, chat, Status::RequiresAction).await;
        let edited = Decision::Approve { input: Some(r#"{"n":2}"#.to_owned()) };
        chats.decide(chat, 0, edited, Asked::default()).await.expect("decided");
        tokio::time::sleep(Duration::from_secs(3)).await;
        if turn == 0 {
            send(&chats, chat, "And then?").await;
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    until(&chats, chat, Status::Waiting).await;
    let prompts = model.prompts.lock().clone();
    assert_eq!(prompts.len(), 8, "four steps of two turns");
    assert_eq!(prompts[0][1].content[1], Part::text("File cats.csv (text/csv):\na,b"));
    for pair in prompts.windows(2) {
        begins_like(&pair[0], &pair[1]);
    }
    let whole = serde_json::to_string(&prompts[7]).expect("messages encode");
    assert!(whole.contains("The user changed the arguments") && !whole.contains("too late"), "{whole}");
}
