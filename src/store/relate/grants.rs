//! The privileges that the server's role needs on Relate's tables.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement};

use super::super::{Database, OpenError};

/// A privilege: its name, the table, and the column if it is on one alone.
type Privilege = (&'static str, &'static str, Option<&'static str>);

/// The privileges that are needed.
const NEEDED: [Privilege; 13] = [
    ("SELECT", "__EFMigrationsHistory", None),
    ("SELECT", "Users", None),
    ("SELECT", "UserEmailAddresses", None),
    ("SELECT", "SmtpApiKeys", None),
    ("SELECT", "Emails", None),
    ("SELECT", "EmailRecipients", None),
    ("SELECT", "EmailAttachments", None),
    ("UPDATE", "SmtpApiKeys", Some("LastUsedAt")),
    ("UPDATE", "EmailRecipients", Some("IsRead")),
    ("UPDATE", "EmailRecipients", Some("UserId")),
    ("DELETE", "EmailRecipients", None),
    ("DELETE", "Emails", None),
    ("USAGE", "restante", None),
];

#[derive(FromQueryResult)]
struct Answer {
    role: String,
    database: String,
    has: bool,
}

impl Database {
    /// Returns the statements that grant what the role of this connection lacks: privileges on
    /// Relate's tables, and on the schema `restante`.
    ///
    /// # Errors
    /// If the database can't say.
    pub(crate) async fn missing_grants(&self) -> Result<Vec<String>, OpenError> {
        let mut missing = Vec::new();
        for privilege in NEEDED {
            missing.extend(self.missing_grant(privilege).await?);
        }
        Ok(missing)
    }

    /// Returns the statement that lets the role read the history of Relate's schema, if it may not.
    ///
    /// # Errors
    /// If the database can't say.
    pub(in crate::store) async fn missing_history_grant(
        &self,
    ) -> Result<Option<String>, OpenError> {
        let [history, ..] = NEEDED;
        self.missing_grant(history).await
    }

    async fn missing_grant(
        &self,
        (privilege, table, column): Privilege,
    ) -> Result<Option<String>, OpenError> {
        let question = match (privilege, column) {
            ("USAGE", _) => schema_question(),
            (_, None) => format!("has_table_privilege('public.\"{table}\"', '{privilege}')"),
            (_, Some(column)) => {
                format!("has_column_privilege('public.\"{table}\"', '{column}', '{privilege}')")
            }
        };
        let answer = self.answer(&question).await?;
        if answer.has {
            return Ok(None);
        }
        let role = quoted(&answer.role);
        let database = quoted(&answer.database);
        Ok(Some(match (privilege, column) {
            ("USAGE", _) => format!("GRANT CREATE ON DATABASE {database} TO {role};"),
            (_, None) => format!("GRANT {privilege} ON public.\"{table}\" TO {role};"),
            (_, Some(column)) => {
                format!("GRANT {privilege} (\"{column}\") ON public.\"{table}\" TO {role};")
            }
        }))
    }

    async fn answer(&self, question: &str) -> Result<Answer, OpenError> {
        let read = self.read();
        let ask = format!(
            "SELECT current_user::text AS role, current_database()::text AS database, \
             COALESCE({question}, false) AS has"
        );
        let ask = Statement::from_string(read.get_database_backend(), ask);
        let answer = Answer::find_by_statement(ask).one(read).await;
        let answer = answer.map_err(OpenError::Connect)?;
        answer.ok_or_else(|| {
            let nothing = "the privileges of the role".to_owned();
            OpenError::Connect(sea_orm::DbErr::RecordNotFound(nothing))
        })
    }
}

/// Asks for the right to use and to fill the schema `restante`, or to make it.
fn schema_question() -> String {
    "CASE WHEN to_regnamespace('restante') IS NULL \
     THEN has_database_privilege(current_database(), 'CREATE') \
     ELSE has_schema_privilege('restante', 'USAGE') END"
        .to_owned()
}

/// A name as an identifier of SQL.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.is_empty() && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_sql_needs_it() {
        assert_eq!(quoted("restante"), "restante");
        assert_eq!(quoted("Mail"), "\"Mail\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
