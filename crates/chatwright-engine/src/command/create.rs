use chatwright_core::head::{Index, State, Status};
use chatwright_core::record::{ChatCreated, MessageSystem, MessageUser};
use chatwright_core::{OpId, Seq};

use super::{check_content, check_model, remember};
use crate::change::Change;
use crate::input::{Context, Create};
use crate::step::{Receipt, Step};
use crate::{NotDone, Refused};

pub(super) fn create(context: Context<'_>, op: OpId, create: &Create) -> Result<Step, NotDone> {
    if !create.content.is_empty() {
        check_content(&create.content)?;
    }
    check_model(create.model.as_deref())?;
    let depth = create.parent.map_or(0, |parent| parent.depth.saturating_add(1));
    let depth_max = context.rules.depth_max;
    if depth > depth_max {
        let what = format!(
            "the chat would be {depth} below the root of its family, and at most {depth_max} are allowed"
        );
        return Err(Refused::Invalid { what }.into());
    }
    let mut index = Index::new(create.owner.clone(), context.now);
    index.organization = create.organization.clone();
    (index.parent, index.root) =
        (create.parent.map(|parent| parent.chat), create.parent.map(|parent| parent.root));
    index.client_type = create.client_type;
    index.title = create.title.clone();

    index.labels = create.labels.clone();
    let mut state = State::default();
    state.model.clone_from(&create.model);
    state.effort = create.effort;
    state.depth = depth;
    state.titled = !create.title.as_str().is_empty();
    let (parent, root) = (index.parent, index.root);
    let mut change = Change::new(context, op, Seq::ZERO, index, state, None, None);
    let seq = change.push(ChatCreated {
        owner: create.owner.clone(),
        organization: create.organization.clone(),
        parent,
        root,
        client_type: create.client_type,
        title: Some(create.title.clone()).filter(|title| !title.as_str().is_empty()),
        labels: create.labels.clone(),
        model: create.model.clone(),
        effort: create.effort,
        first: (!create.content.is_empty()).then_some(create.message),
        key: create.key,
    })?;
    if !create.system.is_empty() {
        let system = change.push(MessageSystem { id: create.system_id, content: create.system.clone() })?;
        change.state.system = Some(system);
    }
    let mut message = None;
    if !create.content.is_empty() {
        let mut first = MessageUser::new(create.message, create.content.clone());
        first.key = create.key;
        change.user_message(first)?;
        change.state.status = Status::Running;
        change.wait_for_claim();
        message = Some(create.message);
    }
    remember(&mut change.state, create.key, seq);
    change.done(Some(Receipt { op, seq, message, queued: None, position: None }))
}
