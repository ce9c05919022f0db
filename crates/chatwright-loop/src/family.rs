//! Families: their members are in the log of their root, and they are archived from there.

use chatwright_core::head::Archiving;
use chatwright_core::record::Body;
use chatwright_core::{ChatId, OpId, Seq, limits};
use chatwright_engine::{Archive, Chat, Command, History, Input, Receipt, Refused, Scope, Unarchive};

use crate::deps::Deps;
use crate::feed::{Failed, broken};
use crate::held;

impl Deps {
    /// The members of a family but its root, in the order in which they joined.
    async fn members(&self, root: ChatId, chat: &Chat) -> Result<Vec<ChatId>, Failed> {
        let Some(first) = chat.state.first_child else { return Ok(Vec::new()) };
        let (mut members, mut after) = (Vec::new(), Seq::new(first.get() - 1));
        while after < chat.head.last_seq {
            let page = self.ports.chats.records(root, after, limits::PAGE_ITEMS_MAX).await;
            let page = page.map_err(Failed::Store)?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            for record in &page {
                if let Body::ChildAdded(added) = record.open().map_err(broken)?.body
                    && !members.contains(&added.child)
                {
                    members.push(added.child);
                }
            }
        }
        Ok(members)
    }

    /// Feeds a command on behalf of nobody, and rings.
    async fn command_for(&self, chat: ChatId, command: Command) -> Result<(Chat, Option<Receipt>), Failed> {
        let input = Input::Command(OpId::mint(&*self.ports.ids), command);
        let landed = self.feed(chat, &input, None, &mut History::default()).await?;
        let head = &landed.chat.head;
        self.ring(chat, head.revision, head.wake_at.is_some() && head.holder.is_none()).await;
        Ok((landed.chat, landed.receipt))
    }
}

/// `Err` iff a member of the family does something.
pub(crate) async fn must_rest(deps: &Deps, root: ChatId, chat: &Chat) -> Result<(), Failed> {
    for member in deps.members(root, chat).await? {
        if let Some(member) = deps.reload(member).await?
            && (member.head.wake_at.is_some() || member.head.holder.is_some())
        {
            let expected = vec![chatwright_core::head::Status::Waiting, chatwright_core::head::Status::Error];
            return Err(Refused::State { status: member.state.status, expected }.into());
        }
    }
    Ok(())
}

/// Goes on with the archiving of a family: each member that is not archived yet, and the root at last. Gives whether that is
/// done; a member whose holder still stops is left for the next time.
pub(crate) async fn archive_members(deps: &Deps, root: ChatId) -> Result<bool, Failed> {
    let Some(chat) = deps.reload(root).await? else { return Ok(true) };
    let Some(Archiving { stop }) = chat.state.archiving else { return Ok(true) };
    let members = deps.members(root, &chat).await?;
    let mut done = true;
    for &member in &members {
        match follow(deps, root, member).await {
            Ok(followed) => done &= followed.done,
            Err(Failed::Refused(refused @ Refused::State { .. })) => {
                // It has begun something meanwhile, and nobody said that it may be stopped.
                take_back(deps, root, members).await?;
                return Err(refused.into());
            }
            Err(error) => return Err(error),
        }
    }
    if done {
        let archive = Archive { scope: Scope::Rest, stop, dead: None, key: None };
        match deps.command_for(root, Command::Archive(archive)).await {
            Ok(_) | Err(Failed::Refused(Refused::Archived | Refused::NotArchived)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// How far a member has followed its root.
pub(crate) struct Followed {
    /// Both are archived, or neither is.
    done: bool,
    /// The last command that it took.
    receipt: Option<Receipt>,
}

/// How often a member follows its root at once.
const ROUNDS: u32 = 16;

/// Archives a member whose root is archived or is to be, and takes it out of the archive under any other. Archivings, their
/// ends and creations may meet here: whoever has changed a member looks at its root once more. One that never came to be is
/// in no way.
pub(crate) async fn follow(deps: &Deps, root: ChatId, member: ChatId) -> Result<Followed, Failed> {
    let mut receipt = None;
    for _ in 0..ROUNDS {
        let (over, chat) = (deps.reload(root).await?, deps.reload(member).await?);
        let Some((over, chat)) = over.zip(chat) else { return Ok(Followed { done: true, receipt }) };
        let (archived, archiving) = (chat.head.index.archived, chat.state.archiving.is_some());
        let command = match is_closed(&over) {
            true if archived => return Ok(Followed { done: true, receipt }),
            true => {
                let dead = held::dead(deps, chat.head.holder).await?;
                if archiving && chat.head.holder.is_some() && dead.is_none() {
                    return Ok(Followed { done: false, receipt });
                }
                let stop = over.state.archiving.is_none_or(|archiving| archiving.stop);
                Command::Archive(Archive { scope: Scope::Member, stop, dead, key: None })
            }
            false if !archived && !archiving => return Ok(Followed { done: true, receipt }),
            false => Command::Unarchive(Unarchive { member: true, key: None }),
        };
        match deps.command_for(member, command).await {
            Ok((_, done)) => receipt = done,
            Err(Failed::Refused(Refused::Archived | Refused::NotArchived)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Refused::Busy.into())
}

/// Whether a root is archived or is to be.
fn is_closed(root: &Chat) -> bool {
    root.head.index.archived || root.state.archiving.is_some()
}

/// Archives a member that came to be when its root was archived already. Gives whether it did.
pub(crate) async fn archive_late(deps: &Deps, member: ChatId, chat: &Chat) -> Result<bool, Failed> {
    let Some(root) = chat.head.index.root.filter(|_| chat.state.archiving.is_none()) else {
        return Ok(false);
    };
    match deps.reload(root).await? {
        Some(over) if is_closed(&over) => follow(deps, root, member).await.map(|_| true),
        _ => Ok(false),
    }
}

/// Ends an archiving, the root at last: until then, whoever finds that due goes on.
async fn take_back(deps: &Deps, root: ChatId, members: Vec<ChatId>) -> Result<(), Failed> {
    for member in members {
        let unarchive = Command::Unarchive(Unarchive { member: true, key: None });
        match deps.command_for(member, unarchive).await {
            Ok(_) | Err(Failed::Refused(Refused::NotArchived | Refused::NotFound { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    match unarchive(deps, root, None).await {
        Ok(_) | Err(Failed::Refused(Refused::NotArchived)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes a family out of the archive: its root first, so that no member is active under an archived root.
pub(crate) async fn unarchive(
    deps: &Deps,
    root: ChatId,
    key: Option<chatwright_core::head::KeyHash>,
) -> Result<Receipt, Failed> {
    let mut receipt = match deps.command_for(root, Command::Unarchive(Unarchive { member: false, key })).await
    {
        // It may have been taken out before, and that was interrupted.
        Err(Failed::Refused(Refused::NotArchived)) => None,
        done => done?.1,
    };
    let Some(chat) = deps.reload(root).await? else { return Err(Refused::NotFound { what: "chat" }.into()) };
    for member in deps.members(root, &chat).await? {
        let followed = follow(deps, root, member).await?;
        receipt = receipt.or(followed.receipt);
    }
    receipt.ok_or(Refused::NotArchived.into())
}
