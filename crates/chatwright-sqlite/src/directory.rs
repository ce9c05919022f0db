use async_trait::async_trait;
use chatwright_core::head::Index;
use chatwright_core::port::{ChatDirectory, DirectoryFilter, DirectoryPage, Listed, StoreError};
use chatwright_core::{OrganizationId, Revision, UserId};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::SqliteStore;
use crate::columns::{blob, chat_id, number};
use crate::error::damaged;

/// Upholds C1–C3. Lists by owner and by parent walk an index; the others look at every chat.
#[async_trait]
impl ChatDirectory for SqliteStore {
    async fn list(&self, filter: &DirectoryFilter, page: DirectoryPage) -> Result<Vec<Listed>, StoreError> {
        StoreError::check_page(page.limit)?;
        let filter = filter.clone();
        self.read("listing chats", move |conn| list(conn, &filter, page)).await
    }
}

fn list(conn: &Connection, filter: &DirectoryFilter, page: DirectoryPage) -> rusqlite::Result<Vec<Listed>> {
    let (sql, values) = query(filter, page);
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut list = Vec::new();
    while list.len() < page.limit
        && let Some(row) = rows.next()?
    {
        let index: Index = serde_json::from_str(row.get_ref(2)?.as_str()?)
            .map_err(|_| damaged(2, "the index of a chat does not decode"))?;
        // Labels have no column: they are any text, which SQLite's JSON functions need not keep apart.
        if filter.matches(&index) {
            list.push(Listed { chat: chat_id(row, 0)?, revision: Revision::new(number(row, 1)?), index });
        }
    }
    Ok(list)
}

/// Only the conditions that are set, for an index serves none that may be absent.
pub(crate) fn query(filter: &DirectoryFilter, page: DirectoryPage) -> (String, Vec<Value>) {
    let mut sql = "SELECT id, revision, index_json FROM chat WHERE TRUE".to_owned();
    let mut values = Vec::new();
    let mut when = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value);
        }
    };
    let text = |text: &str| Value::from(text.to_owned());
    when(" AND owner = ?", filter.owner.as_ref().map(UserId::as_str).map(text));
    when(" AND organization = ?", filter.organization.as_ref().map(OrganizationId::as_str).map(text));
    when(" AND parent = ?", filter.parent.map(|chat| blob(chat.as_uuid()).to_vec().into()));
    when(" AND status = ?", filter.status.map(|status| text(status.as_str())));
    when(" AND archived = ?", filter.archived.map(Value::from));
    when(" AND (root IS NULL) = ?", filter.is_root.map(Value::from));
    when(" AND (updated, id) < (?", page.after.map(|(updated, _)| updated.as_millis().into()));
    when(", ?)", page.after.map(|(_, chat)| blob(chat.as_uuid()).to_vec().into()));
    sql.push_str(" ORDER BY updated DESC, id DESC");
    (sql, values)
}
