//! A1, A4, A6: blobs are their bytes, and have their bound.

use chatwright_core::BlobRef;
use chatwright_core::limits::BLOB_BYTES_MAX;
use chatwright_core::port::{Blobs, StoreErrorKind};
use tokio::task::JoinSet;

use crate::Subject;
use crate::wait::all;

pub(super) async fn a1_bytes_come_back_as_they_were_put(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A1";
    let mut shelf = subject.shelf(CLAUSE).await;
    let chat = subject.chat();
    let every: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    let values: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0],
        vec![0; 100],
        every,
        b"\0before and behind\0".to_vec(),
        b" white space \t\r\n\r\n ".to_vec(),
        vec![0xff, 0xfe, 0xc3, 0x28, 0xed, 0xa0, 0x80],
        "\u{feff}é e\u{301} 😀".into(),
        b"{\"b\" : 1,\"a\":2, \"a\":3 }".to_vec(),
        b"aGVsbG8=".to_vec(),
        b"it's \"quoted\" \\x00 %s $1 ?1 \\".to_vec(),
        subject.bytes(4_096),
        subject.bytes(100_001),
        subject.bytes(BLOB_BYTES_MAX),
    ];
    let mut refs = Vec::new();
    for value in &values {
        refs.push(shelf.put(chat, value).await);
    }
    for round in ["at once", "later"] {
        for (blob, value) in refs.iter().zip(&values) {
            shelf.opens(chat, blob, value, round).await;
        }
        shelf = subject.reconnect(shelf).await;
    }
    shelf.delete(chat).await;
}

pub(super) async fn a4_the_same_bytes_are_one_blob_and_others_are_not(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A4";
    let shelf = subject.shelf(CLAUSE).await;
    let beside = subject.beside(&shelf).await;
    let chat = subject.chat();
    let long = subject.bytes(70_000);
    let end = |byte: u8| {
        let mut other = long.clone();
        other.push(byte);
        other
    };
    let mut begin = long.clone();
    begin[0] ^= 1;
    let mut last = long.clone();
    last[69_999] ^= 1;
    // Equal to one another for whoever looks at the length, at the beginning or at the words alone.
    let values = [
        long.clone(),
        begin,
        last,
        end(0),
        end(b' '),
        end(b'\n'),
        Vec::new(),
        b" ".to_vec(),
        b"a".to_vec(),
        b"A".to_vec(),
        b"a ".to_vec(),
        b"a\0".to_vec(),
        b"a\0b".to_vec(),
    ];
    let mut refs: Vec<BlobRef> = Vec::new();
    for value in &values {
        let blob = shelf.put(chat, value).await;
        assert!(!refs.contains(&blob), "{CLAUSE}: other bytes have the reference {blob} already");
        refs.push(blob);
    }
    for (n, value) in values.iter().enumerate() {
        let again = [shelf.put(chat, value).await, beside.put(chat, value).await];
        assert_eq!(again, [refs[n].clone(), refs[n].clone()], "{CLAUSE}: the same bytes once more");
    }
    for (blob, value) in refs.iter().zip(&values) {
        beside.opens(chat, blob, value, "after the same bytes came again").await;
    }
    // New ones that many put at once.
    let mut writers = JoinSet::new();
    for n in 0..32 {
        let (shelf, bytes) = (if n % 2 == 0 { shelf.clone() } else { beside.clone() }, long[1..].to_vec());
        writers.spawn(async move { shelf.put(chat, &bytes).await });
    }
    let mut given = all(writers).await;
    given.dedup();
    assert_eq!(given.len(), 1, "{CLAUSE}: the same bytes of many at once have other references");
    shelf.opens(chat, &given[0], &long[1..], "put by many at once").await;
    shelf.delete(chat).await;
    for blob in refs.iter().chain(&given) {
        shelf.is_absent(chat, blob, "deleted, after it was put more than once").await;
    }
}

pub(super) async fn a6_a_blob_over_its_bound_is_refused_and_changes_nothing(subject: &Subject<dyn Blobs>) {
    const CLAUSE: &str = "blobs.A6";
    let mut shelf = subject.shelf(CLAUSE).await;
    let chat = subject.chat();
    let over = subject.bytes(BLOB_BYTES_MAX + 1);
    let largest = &over[..BLOB_BYTES_MAX];
    let kept = shelf.put(chat, largest).await;
    for _ in 0..2 {
        let refused = shelf.store.put(chat, &over).await.map_err(|error| error.kind());
        assert_eq!(refused, Err(StoreErrorKind::Invalid), "{CLAUSE}: a blob of {} bytes", over.len());
        shelf.opens(chat, &kept, largest, "beside what was refused").await;
        // The bundled stores would give it this reference.
        shelf.is_absent(chat, &BlobRef::of(chat, &over), "what was refused").await;
        shelf = subject.reconnect(shelf).await;
    }
    let small = shelf.put(chat, b"small").await;
    shelf.opens(chat, &small, b"small", "after what was refused").await;
    shelf.delete(chat).await;
}
