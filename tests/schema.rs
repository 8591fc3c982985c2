//! The entities are equal to the tables that the migration makes, on both databases.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Schema, Statement};

use crate::support::place::{Kind, Place, everywhere};

/// Columns, keys and indexes of a SQLite database, as lines of text.
const OF_SQLITE: &str = "SELECT t.name AS of, \
    'column ' || c.name || ' ' || c.type || CASE c.\"notnull\" WHEN 1 THEN ' not null' ELSE '' END || \
    CASE WHEN c.pk > 0 THEN ' key ' || c.pk ELSE '' END || COALESCE(' default ' || c.dflt_value, '') || \
    CASE WHEN c.pk > 0 AND t.sql LIKE '%autoincrement%' THEN ' generated' ELSE '' END \
    AS line FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' \
    UNION ALL SELECT t.name, 'references ' || f.\"from\" || ' ' || f.\"table\" || ' ' || f.\"to\" \
    FROM sqlite_master t JOIN pragma_foreign_key_list(t.name) f WHERE t.type = 'table' \
    UNION ALL SELECT t.name, CASE i.\"unique\" WHEN 1 THEN 'unique ' ELSE 'index ' END || \
    (SELECT group_concat(x.name, ' ') FROM pragma_index_info(i.name) x) || \
    CASE i.partial WHEN 1 THEN ' partial' ELSE '' END \
    FROM sqlite_master t JOIN pragma_index_list(t.name) i WHERE t.type = 'table' AND i.origin <> 'pk'";

/// The same of a PostgreSQL database.
const OF_POSTGRES: &str = "WITH of_key AS (SELECT c.conrelid, c.contype, a.attname, k.place \
    FROM pg_constraint c, unnest(c.conkey) WITH ORDINALITY k(number, place), pg_attribute a \
    WHERE a.attrelid = c.conrelid AND a.attnum = k.number AND c.contype = 'p') \
    SELECT t.relname::text AS of, 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || \
    CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || \
    COALESCE(' key ' || k.place, '') || \
    CASE WHEN pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%' THEN ' generated' \
         ELSE COALESCE(' default ' || pg_get_expr(d.adbin, d.adrelid), '') END || \
    CASE WHEN a.attidentity <> '' THEN ' generated' ELSE '' END AS line \
    FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 \
    LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum \
    LEFT JOIN of_key k ON k.conrelid = t.oid AND k.attname = a.attname \
    WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace \
    UNION ALL SELECT t.relname::text, 'references ' || a.attname || ' ' || o.relname || ' ' || b.attname \
    FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class o ON o.oid = c.confrelid \
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = c.conkey[1] \
    JOIN pg_attribute b ON b.attrelid = o.oid AND b.attnum = c.confkey[1] WHERE c.contype = 'f' \
    UNION ALL SELECT t.relname::text, CASE WHEN i.indisunique THEN 'unique ' ELSE 'index ' END || \
    (SELECT string_agg(a.attname, ' ' ORDER BY k.place) \
     FROM unnest(i.indkey) WITH ORDINALITY k(number, place), pg_attribute a \
     WHERE a.attrelid = t.oid AND a.attnum = k.number) || \
    CASE WHEN i.indpred IS NULL THEN '' ELSE ' partial' END \
    FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid \
    WHERE t.relnamespace = 'public'::regnamespace AND NOT i.indisprimary";

/// The lines of each table, in order.
type Tables = BTreeMap<String, Vec<String>>;

#[actix_rt::test]
async fn every_entity_has_the_columns_and_keys_of_its_table_on_both_databases() {
    for (migrated, made) in everywhere().into_iter().zip(everywhere()) {
        let from_migration = tables_of(&migrated).await;
        let connection = connect(&made).await;
        make_from_entities(&connection).await;
        let from_entities = without_indexes(described(&connection, made.kind).await);
        let from_migration = without_indexes(from_migration);
        assert_eq!(from_migration, from_entities, "{:?}", made.kind);
    }
}

#[actix_rt::test]
async fn both_databases_have_the_same_tables_keys_and_indexes() {
    let mut all = Vec::new();
    for place in everywhere() {
        let mut tables = tables_of(&place).await;
        // Types have other names there, which the test above compares.
        for lines in tables.values_mut() {
            for line in lines.iter_mut() {
                let mut words: Vec<&str> = line.split(' ').collect();
                if words.first() == Some(&"column") {
                    words.remove(2);
                }
                *line = words.join(" ");
            }
        }
        all.push(tables);
    }
    assert!(all.iter().any(|tables| {
        let users = tables.get("users").unwrap();
        users.contains(&"index removed_at_ms partial".to_owned())
    }));
    assert!(
        all.windows(2).all(|two| two.first() == two.last()),
        "{all:#?}"
    );
}

/// What the migration makes in a database.
async fn tables_of(place: &Place) -> Tables {
    place.open().await.close().await.unwrap();
    described(&connect(place).await, place.kind).await
}

async fn connect(place: &Place) -> DatabaseConnection {
    let mut url = place.url.clone();
    if place.kind == Kind::Sqlite {
        std::fs::create_dir_all(place.folder.path().join("mail")).unwrap();
        url.push_str("?mode=rwc");
    }
    sea_orm::Database::connect(url).await.unwrap()
}

async fn make_from_entities(connection: &DatabaseConnection) {
    let schema = Schema::new(connection.get_database_backend());
    macro_rules! make {
        ($($entity:ident),*) => {$(
            let entity = entity::$entity::Entity;
            connection.execute(&schema.create_table_from_entity(entity)).await.unwrap();
            for index in schema.create_index_from_entity(entity) {
                connection.execute(&index).await.unwrap();
            }
        )*};
    }
    make!(
        user,
        address,
        api_key,
        scram,
        content,
        chunk,
        pending_content,
        message,
        trace_header,
        imported_message,
        deletion,
        deleted_message,
        deletion_batch,
        server,
        remote_lease,
        clock_check
    );
}

async fn described(connection: &DatabaseConnection, kind: Kind) -> Tables {
    let (backend, sql) = match kind {
        Kind::Sqlite => (DbBackend::Sqlite, OF_SQLITE),
        Kind::Postgres => (DbBackend::Postgres, OF_POSTGRES),
    };
    let mut tables = Tables::new();
    let rows = connection.query_all_raw(Statement::from_string(backend, sql));
    for row in rows.await.unwrap() {
        let table: String = row.try_get("", "of").unwrap();
        if !table.starts_with("seaql") && !table.starts_with("sqlite") {
            let line = row.try_get("", "line").unwrap();
            tables.entry(table).or_default().push(line);
        }
    }
    tables.values_mut().for_each(|lines| lines.sort());
    tables
}

/// Entities name unique indexes alone.
fn without_indexes(mut tables: Tables) -> Tables {
    for lines in tables.values_mut() {
        lines.retain(|line| !line.starts_with("index "));
    }
    tables
}
