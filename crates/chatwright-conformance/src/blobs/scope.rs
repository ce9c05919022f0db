//! A3, A8: what a reference opens, and when nothing.

use chatwright_core::limits::ID_BYTES_MAX;
use chatwright_core::port::Blobs;
use chatwright_core::{BlobRef, ChatId};
use tokio::task::JoinSet;

use crate::Subject;
use crate::wait::all;

pub(super) async fn a3_a_reference_opens_nothing_of_another_chat(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A3";
    let mut shelf = subject.shelf(CLAUSE).await;
    let chats = subject.alike();
    let secrets: Vec<Vec<u8>> = chats.iter().map(|_| subject.bytes(3_000)).collect();
    let mut refs = Vec::new();
    for (chat, bytes) in chats.iter().zip(&secrets) {
        refs.push(shelf.put(*chat, bytes).await);
    }
    for _ in 0..2 {
        for (owner, blob) in refs.iter().enumerate() {
            for (asker, chat) in chats.iter().enumerate() {
                match asker == owner {
                    true => shelf.opens(*chat, blob, &secrets[owner], "its own").await,
                    false => shelf.is_absent(*chat, blob, "a reference of another chat").await,
                }
            }
            shelf.is_absent(subject.chat(), blob, "a reference of another chat, for one without blobs").await;
        }
        shelf = subject.reconnect(shelf).await;
    }
    // What another chat has is no reason not to keep it, and then it is one's own.
    let own = shelf.put(chats[1], &secrets[0]).await;
    shelf.opens(chats[1], &own, &secrets[0], "the same bytes as another chat has").await;
    for chat in chats {
        shelf.delete(chat).await;
    }
}

pub(super) async fn a8_text_that_no_put_gave_opens_nothing(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A8";
    let shelf = subject.shelf(CLAUSE).await;
    let chat = subject.chat();
    let blob = shelf.put(chat, b"something").await;
    let given = blob.as_str();
    let changed: String = given.chars().rev().collect();
    let mut texts: Vec<String> = [
        "", " ", "%", "_", "*", "/", ".", "..", "../x", "a/b", "\0", "é", "😀", "'", "\"", "\\", "null", "0",
    ]
    .map(str::to_owned)
    .into();
    texts.extend(["x".repeat(ID_BYTES_MAX), "0".repeat(ID_BYTES_MAX), "../".repeat(21), changed]);
    let shorter: String = given.chars().skip(1).collect();
    texts.extend([given.to_uppercase(), shorter, format!("{given} ")]);
    for text in texts.iter().filter(|text| text.as_str() != given && text.len() <= ID_BYTES_MAX) {
        let other = BlobRef::new(text.as_str()).expect("a short text");
        shelf.is_absent(chat, &other, &format!("the text {text:?}")).await;
    }
    shelf.opens(chat, &blob, b"something", "beside texts that no put gave").await;
    shelf.delete(chat).await;
}

pub(super) async fn a8_what_is_there_is_never_told_to_be_absent(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A8";
    let shelf = subject.shelf(CLAUSE).await;
    let beside = subject.beside(&shelf).await;
    let (chat, bytes) = (subject.chat(), subject.bytes(50_000));
    let blob = shelf.put(chat, &bytes).await;
    let others: Vec<(ChatId, Vec<u8>)> = (0..4).map(|_| (subject.chat(), subject.bytes(200_000))).collect();
    let mut tasks = JoinSet::new();
    for (n, (other, large)) in others.into_iter().enumerate() {
        let shelf = if n % 2 == 0 { shelf.clone() } else { beside.clone() };
        tasks.spawn(async move {
            for round in 0..16 {
                shelf.put(other, &large[round..]).await;
            }
            shelf.delete(other).await;
        });
    }
    for n in 0..16 {
        let (shelf, blob, bytes) =
            (if n % 2 == 0 { shelf.clone() } else { beside.clone() }, blob.clone(), bytes.clone());
        tasks.spawn(async move {
            for _ in 0..32 {
                // An error is honest.
                if let Ok(found) = shelf.store.get(chat, &blob).await {
                    assert!(found.is_some(), "{CLAUSE}: beside others: there is no such blob");
                    assert!(
                        found.is_some_and(|found| found == bytes),
                        "{CLAUSE}: beside others: other bytes"
                    );
                }
                tokio::task::yield_now().await;
            }
        });
    }
    all(tasks).await;
    shelf.delete(chat).await;
}
