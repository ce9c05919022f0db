//! A chat in a SQLite file: create it, commit messages, reopen the file, continue. Run it twice: the second run goes on
//! where the first one stopped.
//!
//! `cargo run --example quickstart -- --db PATH` (default: `quickstart.db` in the current folder)

use chatwright_core::content::Part;
use chatwright_core::head::{Index, State};
use chatwright_core::model::ModelId;
use chatwright_core::port::{ChatDirectory, ChatStore, DirectoryFilter, DirectoryPage, SessionStore};
use chatwright_core::record::{Body, MessageAssistant, MessageUser};
use chatwright_core::{ChatId, Commit, Draft, Gen, HeadDraft, MessageId, OpId, Seq, UserId};
use chatwright_loop::SystemIds;
use chatwright_sqlite::SqliteStore;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let path = database()?;
    let store = SqliteStore::open(&path)?;
    let you = UserId::new("you")?;

    // The newest chat of this user, or a new one.
    let filter = DirectoryFilter { owner: Some(you.clone()), ..DirectoryFilter::default() };
    let newest = store.list(&filter, DirectoryPage { after: None, limit: 1 }).await?.pop();
    let chat = newest.as_ref().map_or_else(|| ChatId::mint(&SystemIds), |listed| listed.chat);
    println!("{} chat {chat} in {path}", if newest.is_some() { "Continuing" } else { "Creating" });

    let question = MessageUser::new(MessageId::mint(&SystemIds), vec![Part::text("What survives a crash?")]);
    append(&store, chat, &you, question.into()).await?;

    // What was acknowledged is on the disk: drop everything and open the file again.
    drop(store);
    let store = SqliteStore::open(&path)?;
    let answer = MessageAssistant {
        id: MessageId::mint(&SystemIds),
        r#gen: Gen::new(1),
        content: vec![Part::text("Every commit that was answered with Ok.")],
        model: ModelId { provider: "nobody".into(), model: "hand-written".into() },
        interrupted: false,
        response_id: None,
    };
    append(&store, chat, &you, answer.into()).await?;

    for record in store.records(chat, Seq::ZERO, 100).await? {
        match record.open()?.body {
            Body::MessageUser(message) => println!("{:>3} you:   {}", record.seq, words(&message.content)),
            Body::MessageAssistant(message) => {
                println!("{:>3} model: {}", record.seq, words(&message.content));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads the head, builds the change on it, and commits it iff nobody else was faster.
async fn append(store: &SqliteStore, chat: ChatId, owner: &UserId, body: Body) -> Result<(), Error> {
    let now = store.now().await?;
    let record = Draft::first(OpId::mint(&SystemIds), now, &body)?;
    let commit = match store.head(chat).await? {
        None => {
            let index = Index::new(owner.clone(), now);
            Commit::create(chat, HeadDraft::at_rest(index, &State::default())?, vec![record])?
        }
        Some(last) => {
            let mut index = last.index.clone();
            index.updated = now;
            Commit::next(chat, &last, HeadDraft::from_json(index, last.state.clone())?, vec![record])?
        }
    };
    Ok(store.commit(&commit).await?)
}

fn words(content: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text { text, .. } => text.clone(),
        _ => String::new(),
    };
    content.iter().map(text).collect()
}

fn database() -> Result<String, Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => Ok("quickstart.db".to_owned()),
        [flag, path] if flag == "--db" => Ok(path.clone()),
        _ => Err("usage: quickstart [--db PATH]".into()),
    }
}
