//! A2, A5, A7: from `put` to `delete_chat`.

use std::time::Duration;

use chatwright_core::port::Blobs;
use chatwright_core::{BlobRef, ChatId};
use futures::future::select;

use super::fixture::Shelf;
use crate::Subject;
use crate::wait::within;

pub(super) async fn a2_what_was_put_opens_for_everybody_from_then_on(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A2";
    let shelf = subject.shelf(CLAUSE).await;
    let connections = [shelf.clone(), subject.beside(&shelf).await];
    let chat = subject.chat();
    for round in 0..16 {
        let bytes = subject.bytes(1_000 * (round + 1));
        let blob = connections[round % 2].put(chat, &bytes).await;
        for (reader, whose) in connections.iter().zip(["the first", "the second"]) {
            reader.opens(chat, &blob, &bytes, &format!("blob {round} for {whose} connection")).await;
        }
    }
    shelf.delete(chat).await;
}

pub(super) async fn a2_what_was_put_survives_reopening(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A2";
    if subject.is_volatile() {
        println!("{CLAUSE}: not checked, the store says that it is volatile");
        return;
    }
    let chats = [subject.chat(), subject.chat()];
    let mut kept: Vec<(ChatId, BlobRef, Vec<u8>)> = Vec::new();
    for round in 0..4 {
        let shelf = subject.shelf(CLAUSE).await;
        for (chat, blob, bytes) in &kept {
            shelf.opens(*chat, blob, bytes, &format!("round {round}")).await;
        }
        for chat in chats {
            let bytes = subject.bytes(10_000);
            kept.push((chat, shelf.put(chat, &bytes).await, bytes));
        }
        // The last thing before the connection goes is the same bytes again.
        let (chat, blob, bytes) = &kept[0];
        assert_eq!(shelf.put(*chat, bytes).await, *blob, "{CLAUSE}: round {round}: the same bytes");
    }
    let shelf = subject.shelf(CLAUSE).await;
    for (chat, blob, bytes) in &kept {
        shelf.opens(*chat, blob, bytes, "the last round").await;
    }
    for chat in chats {
        shelf.delete(chat).await;
    }
}

pub(super) async fn a5_after_a_deletion_nothing_of_the_chat_opens(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A5";
    let mut shelf = subject.shelf(CLAUSE).await;
    let chat = subject.chat();
    // A chat that never put anything.
    shelf.delete(chat).await;
    for round in 0..3 {
        let (small, large) = (subject.bytes(10), subject.bytes(3_000_000));
        let mut put: Vec<(BlobRef, Vec<u8>)> = Vec::new();
        for bytes in [small, large.clone(), large[1..].to_vec(), large[2..].to_vec(), Vec::new()] {
            put.push((shelf.put(chat, &bytes).await, bytes));
        }
        for n in 0..64_u8 {
            put.push((shelf.put(chat, &[n, 7]).await, vec![n, 7]));
        }
        for (blob, bytes) in &put {
            shelf.opens(chat, blob, bytes, &format!("round {round}, put after a deletion")).await;
        }
        for what in ["after a deletion", "after a repeated deletion"] {
            shelf.delete(chat).await;
            let beside = subject.beside(&shelf).await;
            for (blob, _) in &put {
                shelf.is_absent(chat, blob, what).await;
                beside.is_absent(chat, blob, what).await;
            }
        }
        shelf = subject.reconnect(shelf).await;
        for (blob, _) in &put {
            shelf.is_absent(chat, blob, "after a deletion and reopening").await;
        }
    }
}

pub(super) async fn a5_a_deletion_leaves_other_chats_alone(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A5";
    let shelf = subject.shelf(CLAUSE).await;
    let chats = subject.alike();
    let bytes = subject.bytes(5_000);
    let mut refs = Vec::new();
    for chat in &chats {
        // All of them put the same.
        refs.push(shelf.put(*chat, &bytes).await);
    }
    for n in 0..chats.len() {
        shelf.delete(chats[n]).await;
        for (at, (chat, blob)) in chats.iter().zip(&refs).enumerate() {
            match at <= n {
                true => shelf.is_absent(*chat, blob, "the deleted chat").await,
                false => shelf.opens(*chat, blob, &bytes, "another chat with the same bytes").await,
            }
        }
    }
}

pub(super) async fn a7_a_dropped_put_is_whole_or_absent_and_the_store_goes_on(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A7";
    let shelf = subject.shelf(CLAUSE).await;
    let chat = subject.chat();
    let first = within(CLAUSE, "a put", shelf.put(chat, b"first")).await;
    for round in 0..60 {
        let bytes = subject.bytes(20_000);
        drop_early(subject, &shelf, chat, &bytes, round % 2 == 0).await;
        // What was dropped may have happened, may still happen, or not.
        let again = within(CLAUSE, "a put after a dropped one", shelf.put(chat, &bytes)).await;
        let opens = shelf.opens(chat, &again, &bytes, "what was put again after it was dropped");
        within(CLAUSE, "a get after a dropped put", opens).await;
    }
    shelf.opens(chat, &first, b"first", "what was put before").await;
    within(CLAUSE, "a deletion after a dropped put", shelf.delete(chat)).await;
}

/// A put that is dropped after some polls of its own, or after some time.
async fn drop_early(subject: &Subject<dyn Blobs>, shelf: &Shelf, chat: ChatId, bytes: &[u8], polls: bool) {
    let patience = subject.chance.below(6);
    let end = Box::pin(async move {
        if polls {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        } else {
            tokio::time::sleep(Duration::from_micros(patience * 40)).await;
        }
    });
    drop(select(shelf.store.put(chat, bytes), end).await);
}
