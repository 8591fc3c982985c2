//! Fresh databases of each kind.

use restante::identity::new_name;
use restante::store::{Database, SqlStore};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use tempfile::TempDir;

/// A database that nobody else uses.
#[derive(Debug)]
pub(crate) struct Place {
    /// Which kind of database it is.
    pub(crate) kind: Kind,
    /// As in `Database__Url`.
    pub(crate) url: String,
    /// Where the file lies, if it is one; it vanishes with this.
    pub(crate) folder: TempDir,
}

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// A fresh empty database on SQLite.
pub(crate) fn sqlite() -> Place {
    let folder = tempfile::Builder::new().prefix("restante-test-").tempdir();
    let folder = folder.unwrap();
    let file = folder.path().join("mail").join("restante.db");
    Place {
        kind: Kind::Sqlite,
        url: format!("sqlite://{}", file.display()),
        folder,
    }
}

/// A fresh empty database on PostgreSQL; none if this machine has no PostgreSQL.
pub(crate) fn postgres() -> Option<Place> {
    Some(Place {
        kind: Kind::Postgres,
        url: super::postgres::database()?,
        folder: tempfile::tempdir().unwrap(),
    })
}

/// A fresh empty database of each kind that this machine has.
pub(crate) fn everywhere() -> Vec<Place> {
    std::iter::once(sqlite()).chain(postgres()).collect()
}

/// Runs a test on each kind of database, all at the same time.
///
/// The thread has the name of the kind, so that a panic tells where it was.
pub(crate) fn on_each(test: impl AsyncFn(&Place) + Sync) {
    on_each_blocking(|place| actix_rt::System::new().block_on(test(place)));
}

/// Runs a test that waits for other processes on each kind of database, all at the same time.
pub(crate) fn on_each_blocking(test: impl Fn(&Place) + Sync) {
    let places = everywhere();
    std::thread::scope(|scope| {
        for place in &places {
            let thread = std::thread::Builder::new().name(format!("{:?}", place.kind));
            thread.spawn_scoped(scope, || test(place)).unwrap();
        }
    });
}

impl Place {
    /// The database as the program opens it, with its schema.
    pub(crate) async fn open(&self) -> Database {
        let database = Database::open(&self.url).await.unwrap();
        database.migrate().await.unwrap();
        database
    }

    /// A store that takes itself for a server of its own.
    pub(crate) async fn server(&self) -> SqlStore {
        SqlStore::new(self.open().await, new_name())
    }

    /// A connection for looking at tables and breaking them.
    pub(crate) async fn sql(&self) -> Sql {
        Sql {
            kind: self.kind,
            connection: sea_orm::Database::connect(&self.url).await.unwrap(),
        }
    }
}

/// Raw SQL, past everything that the program has to say about it.
#[derive(Debug)]
pub(crate) struct Sql {
    kind: Kind,
    connection: DatabaseConnection,
}

impl Sql {
    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        self.connection.execute_unprepared(sql).await.unwrap();
    }

    /// Ends the connection, and with it what it has begun.
    pub(crate) async fn close(self) {
        self.connection.close().await.unwrap();
    }

    /// Makes the database refuse an event (`INSERT`, `UPDATE`, `DELETE`) for rows like this.
    pub(crate) async fn refuse(&self, event: &str, table: &str, rows: &str) {
        let row = if event == "INSERT" { "NEW" } else { "OLD" };
        let condition = format!("{row}.{rows}");
        match self.kind {
            Kind::Sqlite => {
                let trigger = format!(
                    "CREATE TRIGGER fault BEFORE {event} ON {table} WHEN {condition} \
                     BEGIN SELECT RAISE(ABORT, 'injected fault'); END"
                );
                self.run(&trigger).await;
            }
            Kind::Postgres => {
                self.run(
                    "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN RAISE EXCEPTION 'injected fault'; END $$",
                )
                .await;
                self.run(&format!(
                    "CREATE TRIGGER fault BEFORE {event} ON {table} FOR EACH ROW \
                     WHEN ({condition}) EXECUTE FUNCTION fault()"
                ))
                .await;
            }
        }
    }

    /// Lets the database work again.
    pub(crate) async fn allow(&self, table: &str) {
        match self.kind {
            Kind::Sqlite => self.run("DROP TRIGGER fault").await,
            Kind::Postgres => {
                self.run(&format!("DROP TRIGGER fault ON {table}")).await;
                self.run("DROP FUNCTION fault").await;
            }
        }
    }

    /// The number that a query answers with.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let statement = Statement::from_string(self.connection.get_database_backend(), sql);
        let row = self
            .connection
            .query_one_raw(statement)
            .await
            .unwrap()
            .unwrap();
        row.try_get_by_index(0).unwrap()
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT CAST(COUNT(*) AS BIGINT) FROM {table}");
        self.number(&sql).await
    }
}
