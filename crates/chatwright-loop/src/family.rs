//! Families: their members are in the log of their root, and they are archived from there.

use chatwright_core::head::Archiving;
use chatwright_core::record::Body;
use chatwright_core::{ChatId, OpId, Seq, SessionId, limits};
use chatwright_engine::{Archive, Chat, Command, History, Input, Receipt, Refused, Scope, Unarchive};

use crate::deps::Deps;
use crate::feed::{Failed, broken};
use crate::held::session_is_live;

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

    async fn dead_holder_of(&self, chat: &Chat) -> Result<Option<SessionId>, Failed> {
        let Some(holder) = chat.head.holder else { return Ok(None) };
        let live = session_is_live(self, holder).await.map_err(Failed::Store)?;
        Ok((!live).then_some(holder))
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
    let mut done = true;
    for id in deps.members(root, &chat).await? {
        // One that never came to be is in no way.
        let Some(member) = deps.reload(id).await?.filter(|member| !member.head.index.archived) else {
            continue;
        };
        if member.state.archiving.is_some()
            && member.head.holder.is_some()
            && member_lives(deps, &member).await?
        {
            done = false;
            continue;
        }
        let dead = deps.dead_holder_of(&member).await?;
        let archive = Archive { scope: Scope::Member, stop, dead, key: None };
        match deps.command_for(id, Command::Archive(archive)).await {
            Ok((member, _)) => done &= member.head.index.archived,
            Err(Failed::Refused(Refused::Archived)) => {}
            Err(Failed::Refused(refused @ Refused::State { .. })) => {
                // It has begun something meanwhile, and nobody said that it may be stopped.
                unarchive(deps, root, None).await?;
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

async fn member_lives(deps: &Deps, member: &Chat) -> Result<bool, Failed> {
    Ok(deps.dead_holder_of(member).await?.is_none())
}

/// Takes a family out of the archive: its root first, so that no member is active under an archived root.
pub(crate) async fn unarchive(
    deps: &Deps,
    root: ChatId,
    key: Option<chatwright_core::head::KeyHash>,
) -> Result<Receipt, Failed> {
    let mut receipt = deps.command_for(root, Command::Unarchive(Unarchive { member: false, key })).await;
    let Some(chat) = deps.reload(root).await? else { return Err(Refused::NotFound { what: "chat" }.into()) };
    for member in deps.members(root, &chat).await? {
        let unarchive = Command::Unarchive(Unarchive { member: true, key: None });
        match deps.command_for(member, unarchive).await {
            // The root was taken out before, and this was interrupted.
            Ok(done) if matches!(receipt, Err(Failed::Refused(Refused::NotArchived))) => receipt = Ok(done),
            Ok(_) | Err(Failed::Refused(Refused::NotArchived | Refused::NotFound { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(receipt?.1.expect("a command has a receipt"))
}
