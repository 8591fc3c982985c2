//! The entities are the tables that the migrations make.

use crate::support::place::on_each;
use sea_orm::EntityTrait;

#[test]
fn every_entity_reads_its_table_on_both_databases() {
    on_each(async |place| {
        place.open().await;
        let connection = sea_orm::Database::connect(&place.url).await.unwrap();
        macro_rules! reads {
            ($($entity:ident),*) => {$(
                let rows = entity::$entity::Entity::find().all(&connection).await;
                assert_eq!(rows.unwrap(), [], "{}", stringify!($entity));
            )*};
        }
        reads!(
            address,
            api_key,
            chunk,
            clock,
            content,
            deletion,
            deletion_batch,
            departure,
            head,
            import,
            message,
            remote_lease,
            server,
            unfinished,
            user
        );
    });
}
