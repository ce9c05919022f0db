//! What models are sent.

mod common;

use std::time::Duration;

use chatwright_core::content::{Metadata, Output, Part};
use chatwright_core::head::Status;
use chatwright_core::model::{FinishReason, Message, ModelPart, Role};
use chatwright_loop::{Chats, NewMessage};
use serde_json::json;

use common::{RuleModel, World, finish, log, new_chat, records, say, text, until, work};

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
