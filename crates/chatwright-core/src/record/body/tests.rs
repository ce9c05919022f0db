use std::path::PathBuf;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::content::{FileData, Metadata};
use crate::record::{Draft, Entry, Record};
use crate::{OpId, Timestamp};

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n)
}

fn message() -> MessageId {
    MessageId::from_uuid(uuid(1))
}

fn signed(key: &str) -> Metadata {
    Metadata::from([("anthropic".into(), json!({ key: "c2ln" }))])
}

/// One of each kind, every field present.
#[expect(clippy::too_many_lines, reason = "one sample per kind")]
fn samples() -> Vec<Body> {
    let chat = ChatId::from_uuid(uuid(2));
    let session = SessionId::from_uuid(uuid(3));
    let queue = QueueId::from_uuid(uuid(4));
    let user = UserId::new("ada").expect("short");
    let mut labels = Labels::default();
    labels.set("team", "engines").expect("short");
    let title = Title::new("Engines").expect("short");
    let key = Some(KeyHash(0xabc));
    let model = ModelId { provider: "openai".into(), model: "gpt-5".into() };
    let usage = Usage {
        input: Some(9),
        output: Some(7),
        reasoning: Some(2),
        cache_read: Some(5),
        cache_write: Some(0),
    };
    let text = |text: &str| vec![Part::text(text)];
    let said = MessageUser {
        id: message(),
        content: vec![
            Part::text("What is this? \u{0}é😀"),
            Part::File {
                media_type: "image/png".into(),
                name: Some("a.png".into()),
                data: FileData::Base64("aGk=".into()),
                metadata: Metadata::new(),
            },
        ],
        author: Some(UserId::new("grace").expect("short")),
        model: Some("fast".into()),
        effort: None,
        queued: Some(queue),
        key,
    };
    let error = ErrorInfo {
        message: "OpenAI is rate limiting requests.".into(),
        kind: "rate_limit".into(),
        provider: Some("openai".into()),
        retryable: true,
        status_code: Some(429),
        detail: Some("Rate limit reached for requests".into()),
    };
    let time = Timestamp::from_millis(1_700_000_060_000);
    let (r#gen, epoch) = (Gen::new(3), Epoch::new(2));
    let answer = vec![
        Part::Reasoning { text: "An image.".into(), metadata: signed("signature") },
        Part::Text { text: "Let me look.".into(), metadata: Metadata::new() },
        Part::Source {
            id: "s1".into(),
            url: Some("https://example.org/".into()),
            title: Some("Example".into()),
            media_type: None,
            name: None,
            metadata: Metadata::new(),
        },
        Part::ToolCall {
            id: "call_1".into(),
            name: "look".into(),
            input: "{\"at\": \"a.png\"}".into(),
            provider_executed: false,
            metadata: Metadata::new(),
        },
        Part::ToolCall {
            id: "srv_1".into(),
            name: "web_search".into(),
            input: "{}".into(),
            provider_executed: true,
            metadata: Metadata::new(),
        },
        Part::ToolResult {
            call_id: "srv_1".into(),
            name: "web_search".into(),
            output: Output::text("[]"),
            provider_executed: true,
            metadata: signed("encrypted_content"),
        },
        Part::Unknown(json!({"type": "hologram", "beams": 2})),
    ];
    let results = vec![
        CallResult {
            ordinal: 0,
            output: Output::Media {
                media_type: "image/png".into(),
                data: FileData::Blob("b1".into()),
                text: Some("a cat".into()),
            },
            origin: ResultOrigin::Tool,
        },
        CallResult {
            ordinal: 1,
            output: Output::error("the outcome of this call is unknown"),
            origin: ResultOrigin::OutcomeUnknown,
        },
    ];
    vec![
        ChatCreated {
            owner: user.clone(),
            organization: Some(OrganizationId::new("acme").expect("short")),
            parent: Some(chat),
            root: Some(chat),
            client_type: ClientType::Ui,
            title: Some(title.clone()),
            labels: labels.clone(),
            model: Some("fast".into()),
            effort: None,
            first: Some(message()),
            key,
        }
        .into(),
        ChatChanged {
            title: Some(title),
            generated: true,
            labels: Some(labels),
            model: Some("deep".into()),
            effort: None,
            key,
        }
        .into(),
        ChatArchiving { stop: true, key }.into(),
        ChatArchived {}.into(),
        ChatUnarchived { key }.into(),
        ChildAdded { child: chat }.into(),
        said.clone().into(),
        MessageSystem { id: message(), content: text("Be brief.") }.into(),
        MessageAssistant {
            id: message(),
            r#gen,
            content: answer,
            model: model.clone(),
            interrupted: true,
            response_id: Some("resp_1".into()),
        }
        .into(),
        MessagePart { message: message(), content: text("The first half"), continues: true }.into(),
        QueueAdded { id: queue, message: said, position: 1, held: true }.into(),
        QueueChanged { id: queue, content: Some(text("Instead")), held: Some(false), position: Some(0), key }
            .into(),
        QueueRemoved { ids: vec![queue], key }.into(),
        QueuePromoted { id: queue }.into(),
        Claimed { session, epoch }.into(),
        Freed { session, epoch, reason: FreeReason::Died }.into(),
        Watched { until: time }.into(),
        AttemptStarted {
            r#gen,
            unit: UnitKind::Attempt,
            epoch,
            writer: session,
            message: message(),
            model: model.clone(),
            step: 1,
            attempt: 2,
        }
        .into(),
        AttemptFailed {
            r#gen,
            error: error.clone(),
            failures: 1,
            retry_at: Some(time),
            delay_ms: Some(60_000),
            usage,
            estimated: true,
            prices: Some(7),
        }
        .into(),
        AttemptEnded {
            r#gen,
            outcome: Outcome::Committed,
            off: 42,
            finish: Some(FinishReason::ToolCalls),
            usage,
            estimated: true,
            prices: Some(7),
            warnings: vec!["no place for top_k".into()],
        }
        .into(),
        BatchStarted { r#gen, epoch, writer: session, message: message(), calls: vec![0, 1] }.into(),
        ToolIntent {
            r#gen,
            message: message(),
            ordinal: 1,
            name: "send".into(),
            effect: Effect::Once,
            deadline: time,
            input_hash: KeyHash(0xdef),
        }
        .into(),
        ToolResults { r#gen: Some(r#gen), message: message(), results, key }.into(),
        BatchEnded { r#gen, outcome: Outcome::WriterLost, off: 7 }.into(),
        ActionRequired {
            message: message(),
            calls: vec![PendingCall { ordinal: 2, kind: CallKind::Approval, deadline: time }],
        }
        .into(),
        ActionDecided {
            message: message(),
            ordinal: 2,
            decision: Decision::Approve { input: Some("{}".into()) },
            by: Some(user.clone()),
            key,
        }
        .into(),
        InterruptRequested { by: Some(user.clone()), key }.into(),
        TurnEnded { reason: StopReason::Length }.into(),
        ChatError { error }.into(),
        HistoryCut { from: Seq::new(5), message: Some(message()), content_hash: Some(KeyHash(0xdef)), key }
            .into(),
        CompactionRequested { by: Some(user.clone()), key }.into(),
        ContextCompacted {
            previous: Some(Seq::new(2)),
            covers_to: Seq::new(8),
            from: Seq::new(9),
            trigger: Some(CompactionTrigger::TooLarge),
            summary: text("They spoke of engines."),
            said: text("And brakes?"),
            tokens_before: Some(90_000),
            tokens_after: Some(4_000),
        }
        .into(),
        ContextCleared { from: Seq::new(10), key }.into(),
        PromptRepaired { rules: 1, repairs: BTreeMap::from([(4, "dropped a blank text".into())]) }.into(),
    ]
}

fn golden(kind: &Kind) -> PathBuf {
    let name = format!("{}.{}.json", kind.name(), kind.version());
    [env!("CARGO_MANIFEST_DIR"), "golden", &name].iter().collect()
}

/// A field that a kind gained later is absent where it was not there yet.
#[test]
fn what_older_versions_wrote_is_read_and_stays_as_it_was() {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "golden", "older"].iter().collect();
    let mut read = 0;
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        let path = file.expect("readable").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name of ours");
        let kind = Body::KINDS.iter().find(|kind| format!("{}.{}", kind.name(), kind.version()) == name);
        let kind = kind.unwrap_or_else(|| panic!("{name} is a kind")).clone();
        let written = std::fs::read_to_string(&path).expect("readable");
        let body = crate::Json::parse(written.trim_end()).expect("JSON");
        let entry = Record { seq: Seq::new(1), kind, body }.open().expect("it decodes");
        let again = Draft::first(entry.op.expect("the first of its commit"), entry.at, &entry.body);
        assert_eq!(again.expect("small").body().as_str(), written.trim_end(), "{name}");
        read += 1;
    }
    assert!(read > 0, "there are some");
}

/// `GOLDEN=write cargo test -p chatwright-core` writes the files of new kinds; a published file never changes.
#[test]
fn every_kind_reads_and_writes_its_golden_file() {
    let (op, at) = (OpId::from_uuid(uuid(9)), Timestamp::from_millis(1_700_000_000_000));
    let samples = samples();
    assert_eq!(
        samples.iter().map(Body::kind).collect::<Vec<_>>(),
        Body::KINDS,
        "one sample per kind, in order"
    );
    for body in samples {
        let draft = Draft::first(op, at, &body).expect("small");
        let path = golden(draft.kind());
        let written = draft.body().as_str();
        if std::env::var("GOLDEN").is_ok_and(|word| word == "write") && !path.exists() {
            std::fs::write(&path, format!("{written}\n")).expect("the golden folder is writable");
        }
        let file =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(written, file.trim_end(), "{}", path.display());
        let record = Record { seq: Seq::new(1), kind: draft.kind().clone(), body: draft.body().clone() };
        assert_eq!(record.open().expect("a golden file decodes"), Entry { op: Some(op), at, body });
        assert_eq!(record.op(), Some(op));
    }
}

#[test]
fn every_golden_file_belongs_to_a_kind() {
    let known: Vec<_> = Body::KINDS.iter().map(golden).collect();
    let folder = golden(&Body::KINDS[0]);
    for file in std::fs::read_dir(folder.parent().expect("a folder")).expect("the golden folder exists") {
        let path = file.expect("readable").path();
        assert!(known.contains(&path) || path.is_dir(), "{} belongs to no kind", path.display());
    }
}

#[test]
fn an_unknown_kind_is_kept_and_a_malformed_known_one_is_an_error_that_says_where() {
    let at = Timestamp::from_millis(5);
    let record = |kind: &str, data: Value| {
        let draft = Draft::raw(kind, None, at, &data).expect("small");
        Record { seq: Seq::new(7), kind: draft.kind().clone(), body: draft.body().clone() }
    };
    let newer = record("message.user/2", json!({"x": 1}));
    let kind = newer.kind.clone();
    assert_eq!(
        newer.open().expect("kept").body,
        Body::Unknown(UnknownBody { kind: kind.clone(), data: json!({"x": 1}) })
    );
    assert!(kind.is_control(), "a newer version of a control record must be understood");
    assert!(record("novel.thing/1", json!(0)).kind.is_control());
    assert!(!record("note.weather/1", json!(0)).kind.is_control());
    assert!(!record("chat.changed/2", json!(0)).kind.is_control());

    let error = record("claimed/1", json!({"epoch": 1})).open().expect_err("no session");
    assert_eq!(error.to_string(), "record 7 (claimed/1) does not decode");
    assert!(std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("session")));
}

#[test]
fn a_record_that_could_not_be_read_back_is_not_made() {
    let deep = |levels| {
        let value = (0..levels).fold(json!("[\\\"{"), |inner, _| json!([inner]));
        let metadata = Metadata::from([("p".into(), value)]);
        let content = vec![Part::Text { text: "[{".to_owned(), metadata }];
        Body::from(MessageUser::new(message(), content))
    };
    let draft = |levels| Draft::first(OpId::from_uuid(uuid(9)), Timestamp::from_millis(1), &deep(levels));
    // The record, its data, the list of the content, the part and its metadata.
    let whole = draft(95).expect("100 levels").at(Seq::new(1));
    assert_eq!(whole.open().expect("readable").body, deep(95));
    let refused = draft(96).expect_err("101 levels").to_string();
    assert!(refused.contains("101") && refused.contains("levels"), "{refused}");
}
