//! Families whose archiving dies, meets its end, or meets members that come, run and die.

mod common;

use std::sync::Arc;
use std::time::Duration;

use chatwright_conformance::{Chance, Slow};
use chatwright_core::content::Part;
use chatwright_core::head::{State, Status};
use chatwright_core::port::{ChatStore, Tool};
use chatwright_core::tool::{Effect, ToolSpec};
use chatwright_core::{ChatId, Head};
use chatwright_loop::{Chats, Failed, NewChat, NewMessage, Ports, Refused, Settings};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use common::doors::{At, Cut, Staged, Then};
use common::{CountTool, RuleModel, World, check_log, echo, new_chat, records, transcript, until, work};

fn process(world: &World, chats: Arc<dyn ChatStore>) -> Chats {
    let ports = Ports { chats, ..ports(world) };
    Chats::new(ports, Settings::default()).expect("a valid setup")
}

fn ports(world: &World) -> Ports {
    let mut ports =
        world.ports(RuleModel::new(echo), vec![CountTool::hanging("hang", Effect::Once) as Arc<dyn Tool>]);
    let schema = serde_json::json!({"type": "object"});
    ports.client_tools = vec![ToolSpec::new("ask", "Asks the client.", schema, Effect::Pure)];
    ports
}

fn member(root: ChatId, words: &str) -> NewChat {
    let mut new = new_chat(words);
    new.parent = Some(root);
    new
}

/// A chat that waits for its first message.
fn at_rest(parent: Option<ChatId>) -> NewChat {
    let mut new = NewChat::new(new_chat("").owner);
    new.parent = parent;
    new
}

/// A root at rest and three members at rest.
async fn family_at_rest(chats: &Chats) -> Vec<ChatId> {
    let (root, _) = chats.create(at_rest(None)).await.expect("created");
    let mut family = vec![root];
    for _ in 0..3 {
        family.push(chats.create(at_rest(Some(root))).await.expect("created").0);
    }
    family
}

/// A root and members that do all that a member may do; what ran them died.
async fn busy_family(world: &World, chats: &Chats) -> Vec<ChatId> {
    let dies = process(world, world.store.clone());
    let worker = work(&dies);
    let (root, _) = chats.create(new_chat("stall")).await.expect("created");
    let mut family = vec![root];
    for words in ["stall", "use hang", "use ask", "hello"] {
        family.push(chats.create(member(root, words)).await.expect("created").0);
    }
    sleep(Duration::from_secs(1)).await;
    drop(worker);
    family.push(chats.create(member(root, "runnable")).await.expect("created").0);
    family
}

async fn head(chats: &Chats, chat: ChatId) -> Head {
    chats.head(chat).await.expect("there")
}

fn state(head: &Head) -> State {
    head.state.decode().expect("ours")
}

/// Waits until nothing of the family is under way, and gives whether it is archived: all of it or nothing.
async fn settled(chats: &Chats, family: &[ChatId]) -> bool {
    let settled = async {
        loop {
            let mut archived = Vec::new();
            for chat in family {
                let head = head(chats, *chat).await;
                let rests = head.wake_at.is_none() && head.holder.is_none();
                if rests && state(&head).archiving.is_none() {
                    archived.push(head.index.archived);
                }
            }
            if archived.len() == family.len()
                && (archived.iter().all(|is| *is) || archived.iter().all(|is| !is))
            {
                return archived[0];
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    match timeout(Duration::from_secs(600), settled).await {
        Ok(archived) => archived,
        Err(_) => {
            let mut heads = Vec::new();
            for chat in family {
                let head = head(chats, *chat).await;
                heads.push((head.index.archived, head.index.status, head.wake_at, state(&head).archiving));
            }
            panic!("the family does not come to rest as one: {heads:#?}")
        }
    }
}

/// A root is archived after all of its members.
fn check_order(heads: &[(ChatId, Head)], family: &[ChatId]) {
    let mut open: Vec<ChatId> = Vec::new();
    for (chat, head) in heads {
        open.retain(|open| open != chat);
        if !head.index.archived {
            open.push(*chat);
        } else if *chat == family[0] {
            assert!(
                !open.iter().any(|open| family.contains(open)),
                "a member is not archived under its root"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_archiving_that_dies_after_any_commit_is_finished_by_whoever_comes_next() {
    let mut cuts = 0;
    for left in 0.. {
        let mut reached = false;
        for last_is_applied in [false, true] {
            let world = World::new();
            let staged = Staged::new(world.store.clone());
            let sure = process(&world, staged.clone());
            let family = busy_family(&world, &sure).await;
            let cut = Cut::after(staged.clone(), left, last_is_applied);
            let archives = process(&world, cut.clone());
            // Long enough for the sessions of the dead to expire, or just after they died.
            sleep(Duration::from_secs(if left % 2 == 0 { 0 } else { 20 })).await;
            let archived = archives.archive(family[0], true, None).await;
            reached |= cut.is_cut();
            let begun = head(&sure, family[0]).await;
            let begun = begun.index.archived || state(&begun).archiving.is_some();
            assert!(begun || matches!(archived, Err(Failed::Unknown(_))), "{archived:?}");
            // The worker that goes on dies as well.
            let cut = Cut::after(staged.clone(), left, last_is_applied);
            let dies = process(&world, cut);
            drop(timeout(Duration::from_secs(30), work(&dies).join_next()).await);
            let last = process(&world, staged.clone());
            let _worker = work(&last);
            if !begun {
                last.archive(family[0], true, None).await.expect("stopped");
            }
            assert!(settled(&sure, &family).await, "cut after {left}, applied: {last_is_applied}");
            for chat in &family {
                assert_eq!(head(&sure, *chat).await.index.status, Status::Waiting);
                check_log(&records(&sure, *chat).await);
            }
            check_order(&staged.heads(), &family);
            last.unarchive(family[0], None).await.expect("archived");
            assert!(!settled(&sure, &family).await);
        }
        if !reached {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 6, "it was cut at {cuts} places");
}

#[tokio::test(start_paused = true)]
async fn an_unarchiving_that_dies_after_any_commit_is_finished_by_its_repetition() {
    for left in 0..5 {
        for last_is_applied in [false, true] {
            let world = World::new();
            let sure = process(&world, world.store.clone());
            let family = family_at_rest(&sure).await;
            sure.archive(family[0], false, None).await.expect("at rest");
            assert!(settled(&sure, &family).await);
            let dies = process(&world, Cut::after(world.store.clone(), left, last_is_applied));
            let died = dies.unarchive(family[0], None).await;
            assert!(died.is_err() || left == 4, "cut after {left}");
            let again = sure.unarchive(family[0], None).await;
            let was_done = matches!(again, Err(Failed::Refused(Refused::NotArchived)));
            assert!(again.is_ok() || (was_done && left >= 3), "cut after {left}: {again:?}");
            assert!(!settled(&sure, &family).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_archiving_that_meets_its_end_leaves_a_family_in_one_state() {
    let (kinds, commits) = (["chat.archiving", "chat.archived", "chat.unarchived"], 4);
    for kind in kinds {
        for at in [At::Before(kind), At::After(kind)] {
            for nth in 0..commits {
                for then in [Then::GoOn, Then::Fail] {
                    let world = World::new();
                    let staged = Staged::new(world.store.clone());
                    let (slow, sure) =
                        (process(&world, staged.clone()), process(&world, world.store.clone()));
                    let family = family_at_rest(&sure).await;
                    let ends = kind == "chat.unarchived";
                    if ends {
                        sure.archive(family[0], false, None).await.expect("at rest");
                    }
                    // The commit before is let through.
                    let mut stops: Vec<_> = (0..=nth).map(|_| staged.stop(at)).collect();
                    let mut last = stops.pop().expect("at least one");
                    stops.into_iter().for_each(|stop| stop.then(Then::GoOn));
                    let root = family[0];
                    let mut slowly = JoinSet::new();
                    slowly.spawn(async move {
                        match ends {
                            false => slow.archive(root, true, None).await,
                            true => slow.unarchive(root, None).await,
                        }
                    });
                    last.reached().await;
                    let met = match ends {
                        false => sure.unarchive(root, None).await,
                        true => sure.archive(root, true, None).await,
                    };
                    last.then(then);
                    let slow = slowly.join_next().await.expect("one").expect("no panic");
                    let _worker = work(&sure);
                    let archived = settled(&sure, &family).await;
                    sleep(Duration::from_secs(60)).await;
                    assert_eq!(settled(&sure, &family).await, archived, "it stays so");
                    let what = format!("{at:?} {nth} {then:?}: slow {slow:?}, met by {met:?}");
                    let first = nth == 0 && matches!(at, At::Before(_)) && kind != "chat.archived";
                    match first {
                        // The slow one comes after the other, which had nothing to do.
                        true => assert_eq!((met.is_err(), archived), (true, !ends), "{what}"),
                        false => assert_eq!((met.is_ok(), archived), (true, ends), "{what}"),
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_family_that_two_archive_at_once_is_archived_once() {
    let chance = Chance::from_env();
    println!("CHATWRIGHT_SEED={}", chance.seed());
    for _ in 0..20 {
        let world = World::new();
        let sure = process(&world, world.store.clone());
        let family = busy_family(&world, &sure).await;
        let mut archiving = JoinSet::new();
        for _ in 0..2 {
            let chance = Chance::new(chance.next());
            let slow = Slow::new(world.memory.clone(), Duration::from_millis(10), chance);
            let (chats, root) = (process(&world, Arc::new(slow)), family[0]);
            archiving.spawn(async move { chats.archive(root, true, None).await });
        }
        for archived in archiving.join_all().await {
            assert!(matches!(archived, Ok(_) | Err(Failed::Refused(Refused::Archived))), "{archived:?}");
        }
        let _worker = work(&sure);
        assert!(settled(&sure, &family).await);
        for chat in &family {
            let all = records(&sure, *chat).await;
            let times = all.iter().filter(|record| record.kind.name() == "chat.archived").count();
            assert_eq!(times, 1, "each is archived once");
        }
    }
}

/// Lets an archiving that may not stop anything come to its second member, which begins to run.
async fn refused_midway(world: &World, archives: Arc<dyn ChatStore>) -> (Chats, Vec<ChatId>) {
    let staged = Staged::new(archives);
    let (careful, sure) = (process(world, staged.clone()), process(world, world.store.clone()));
    let family = family_at_rest(&sure).await;
    let mut begun = staged.stop(At::After("chat.archiving"));
    let root = family[0];
    let mut archiving = JoinSet::new();
    archiving.spawn(async move { careful.archive(root, false, None).await });
    begun.reached().await;
    sure.send(family[2], NewMessage::text("hello")).await.expect("it is not archived yet");
    begun.then(Then::GoOn);
    let archived = archiving.join_next().await.expect("one").expect("no panic");
    assert!(
        archived.is_ok() || matches!(archived, Err(Failed::Refused(Refused::State { .. }))),
        "{archived:?}"
    );
    (sure, family)
}

#[tokio::test(start_paused = true)]
async fn an_archiving_that_a_member_refuses_is_taken_back_wherever_it_dies() {
    let world = World::new();
    let (sure, family) = refused_midway(&world, world.store.clone()).await;
    let head = head(&sure, family[1]).await;
    assert!(!head.index.archived && state(&head).archiving.is_none());
    let _worker = work(&sure);
    assert!(!settled(&sure, &family).await, "nothing of it is archived");
    assert_eq!(transcript(&sure, family[2]).await, ["user: hello", "model: You said hello."]);

    for left in 1..6 {
        for last_is_applied in [false, true] {
            let world = World::new();
            let cut = Cut::after(world.store.clone(), left, last_is_applied);
            let (sure, family) = refused_midway(&world, cut).await;
            let _worker = work(&sure);
            // Whoever goes on may find the member at rest again.
            settled(&sure, &family).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_archivings_the_one_that_may_stop_prevails() {
    let world = World::new();
    let staged = Staged::new(world.store.clone());
    let (careful, sure) = (process(&world, staged.clone()), process(&world, world.store.clone()));
    let family = family_at_rest(&sure).await;
    let root = family[0];
    let mut marking = staged.stop(At::Before("chat.archiving"));
    let mut archiving = JoinSet::new();
    archiving.spawn(async move { careful.archive(root, false, None).await });
    marking.reached().await;
    // It found all at rest. Meanwhile one runs, and another archiving may stop it, but does not come to it.
    sure.send(family[3], NewMessage::text("stall")).await.expect("accepted");
    let staged = Staged::new(world.store.clone());
    let bold = process(&world, staged.clone());
    let mut marked = staged.stop(At::After("chat.archiving"));
    archiving.spawn(async move { bold.archive(root, true, None).await });
    marked.reached().await;
    marking.then(Then::GoOn);
    archiving.join_next().await.expect("one").expect("no panic").expect("what it wants is done");
    marked.then(Then::GoOn);
    archiving.join_next().await.expect("the other").expect("no panic").expect("stopped");
    assert!(settled(&sure, &family).await);
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_creator_dies_after_its_family_was_archived_does_not_run() {
    for words in [Some("hello"), None] {
        let world = World::new();
        let sure = process(&world, world.store.clone());
        let (root, _) = sure.create(at_rest(None)).await.expect("created");
        // It joins; the family is archived; it is created, and its creator is not heard of again.
        let staged = Staged::new(Cut::after(world.store.clone(), 1, true));
        let dies = process(&world, staged.clone());
        let mut creation = staged.stop(At::Before("chat.created"));
        let mut creating = JoinSet::new();
        let mut new = at_rest(Some(root));
        let late = ChatId::mint(&*ports(&world).ids);
        (new.id, new.content) = (Some(late), words.map(Part::text).into_iter().collect());
        creating.spawn(async move { dies.create(new).await });
        creation.reached().await;
        sure.archive(root, true, None).await.expect("at rest");
        creation.then(Then::GoOn);
        drop(creating.join_next().await);
        let _worker = work(&sure);
        if words.is_none() {
            sure.send(late, NewMessage::text("hello")).await.expect("it is there");
        }
        assert!(settled(&sure, &[root, late]).await);
        assert_eq!(transcript(&sure, late).await, ["user: hello"], "it never ran");
        sure.unarchive(root, None).await.expect("archived");
        sure.send(late, NewMessage::text("again")).await.expect("it is a member as others are");
        until(&sure, late, Status::Waiting).await;
        assert_eq!(transcript(&sure, late).await.last().map(String::as_str), Some("model: You said again."));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_comes_to_be_after_its_family_was_archived_is_archived_though_nobody_runs_it() {
    let world = World::new();
    let staged = Staged::new(world.store.clone());
    let (slow, sure) = (process(&world, staged.clone()), process(&world, world.store.clone()));
    let (root, _) = sure.create(at_rest(None)).await.expect("created");
    let mut creation = staged.stop(At::Before("chat.created"));
    let mut creating = JoinSet::new();
    creating.spawn(async move { slow.create(at_rest(Some(root))).await });
    creation.reached().await;
    sure.archive(root, false, None).await.expect("at rest");
    creation.then(Then::GoOn);
    let created = creating.join_next().await.expect("one").expect("no panic");
    let (late, _) = created.expect("it came to be, and was archived with its family");
    assert!(settled(&sure, &[root, late]).await);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_refused_or_was_done_before_touches_no_member() {
    let world = World::new();
    let sure = process(&world, world.store.clone());
    let family = family_at_rest(&sure).await;
    let key = chatwright_loop::Asked::with_key;
    sure.archive(family[0], false, key("first")).await.expect("at rest");
    let first = sure.unarchive(family[0], key("back")).await.expect("archived");
    sure.archive(family[0], false, None).await.expect("at rest");
    assert_eq!(sure.unarchive(family[0], key("back")).await.expect("the same"), first);
    assert!(settled(&sure, &family).await, "a command that was done is not done again");
    let reused = sure.unarchive(family[0], key("first")).await;
    assert!(matches!(reused, Err(Failed::Refused(Refused::KeyReused))), "{reused:?}");
    assert!(settled(&sure, &family).await);

    let family = family_at_rest(&sure).await;
    let first = sure.archive(family[0], false, key("first")).await.expect("at rest");
    sure.unarchive(family[0], None).await.expect("archived");
    sure.send(family[1], NewMessage::text("hello")).await.expect("accepted");
    assert_eq!(sure.archive(family[0], false, key("first")).await.expect("the same"), first);
    assert_eq!(head(&sure, family[1]).await.index.status, Status::Running);
}
