-- SQLite

-- login
SELECT "api_keys"."user_id", "users"."address", "users"."maildrop_version", "api_keys"."id" AS "key_id", "api_keys"."name", "api_keys"."hash", "api_keys"."scopes", "api_keys"."networks" FROM "api_keys" INNER JOIN "users" ON "api_keys"."user_id" = "users"."id" WHERE "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > (CAST(unixepoch('subsec') * 1000 AS INTEGER))) AND "api_keys"."prefix" = ? AND EXISTS(SELECT "addresses"."user_id" FROM "addresses" WHERE "addresses"."address" IN (?) AND "addresses"."user_id" = "users"."id");

-- login with an identity
SELECT "api_keys"."user_id", "users"."address", "users"."maildrop_version", "api_keys"."id" AS "key_id", "api_keys"."name", "api_keys"."hash", "api_keys"."scopes", "api_keys"."networks" FROM "api_keys" INNER JOIN "users" ON "api_keys"."user_id" = "users"."id" WHERE "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > (CAST(unixepoch('subsec') * 1000 AS INTEGER))) AND "api_keys"."prefix" = ? AND EXISTS(SELECT "addresses"."user_id" FROM "addresses" WHERE "addresses"."address" IN (?) AND "addresses"."user_id" = "users"."id") AND EXISTS(SELECT "addresses"."user_id" FROM "addresses" WHERE "addresses"."address" IN (?) AND "addresses"."user_id" = "users"."id");

-- login after SCRAM
SELECT "api_keys"."user_id", "users"."address", "users"."maildrop_version", "api_keys"."id" AS "key_id", "api_keys"."name", "api_keys"."hash", "api_keys"."scopes", "api_keys"."networks" FROM "api_keys" INNER JOIN "users" ON "api_keys"."user_id" = "users"."id" WHERE "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > (CAST(unixepoch('subsec') * 1000 AS INTEGER))) AND "api_keys"."id" = ?;

-- SCRAM
SELECT "api_keys"."id", "api_keys"."verifier", "api_keys"."scopes", "api_keys"."networks" FROM "addresses" INNER JOIN "users" ON "users"."id" = "addresses"."user_id" INNER JOIN "api_keys" ON "api_keys"."user_id" = "users"."id" WHERE "addresses"."address" IN (?) AND "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > (CAST(unixepoch('subsec') * 1000 AS INTEGER))) AND "api_keys"."verifier" IS NOT NULL ORDER BY COALESCE("api_keys"."last_used_at_ms", "api_keys"."created_at_ms") DESC, "api_keys"."id" DESC LIMIT ?;

-- SCRAM with the name of a key
SELECT "api_keys"."id", "api_keys"."verifier", "api_keys"."scopes", "api_keys"."networks" FROM "addresses" INNER JOIN "users" ON "users"."id" = "addresses"."user_id" INNER JOIN "api_keys" ON "api_keys"."user_id" = "users"."id" WHERE "addresses"."address" IN (?) AND "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > (CAST(unixepoch('subsec') * 1000 AS INTEGER))) AND EXISTS(SELECT "addresses"."user_id" FROM "addresses" WHERE "addresses"."address" IN (?) AND "addresses"."user_id" = "users"."id") AND "api_keys"."name" = ? AND "api_keys"."verifier" IS NOT NULL ORDER BY COALESCE("api_keys"."last_used_at_ms", "api_keys"."created_at_ms") DESC, "api_keys"."id" DESC LIMIT ?;

-- login by certificate
SELECT "users"."id", "users"."address", "users"."maildrop_version", "addresses"."address" AS "other_address" FROM "addresses" AS "meant" INNER JOIN "users" ON "meant"."user_id" = "users"."id" INNER JOIN "addresses" ON "addresses"."user_id" = "users"."id" WHERE "meant"."address" IN (?) AND "users"."disabled_at_ms" IS NULL;

-- open all
SELECT "messages"."id", "messages"."content_id", "messages"."octets", "messages"."unique_id", "messages"."trace_octets", (SELECT COUNT(*) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = ?) AS "batches" FROM "messages" WHERE "messages"."user_id" = ? ORDER BY "messages"."received_at_ms" ASC, "messages"."id" ASC LIMIT ?;

-- open the newest
SELECT "messages"."id", "messages"."content_id", "messages"."octets", "messages"."unique_id", "messages"."trace_octets", (SELECT COUNT(*) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = ?) AS "batches", (SELECT COUNT(*) FROM "messages" WHERE "messages"."user_id" = ?) AS "messages" FROM "messages" WHERE "messages"."user_id" = ? ORDER BY "messages"."received_at_ms" DESC, "messages"."id" DESC LIMIT ?;

-- RETR
SELECT 0 AS "is_trace", "chunks"."content_id" AS "key", "chunks"."data" AS "data" FROM "chunks" WHERE "chunks"."number" = 0 AND "chunks"."content_id" IN (?);

-- RETR with trace headers
SELECT 0 AS "is_trace", "chunks"."content_id" AS "key", "chunks"."data" AS "data" FROM "chunks" WHERE "chunks"."number" = 0 AND "chunks"."content_id" IN (?, ?, ?, ?) UNION ALL SELECT 1 AS "is_trace", "trace_headers"."message_id" AS "key", "trace_headers"."data" FROM "trace_headers" WHERE "trace_headers"."message_id" IN (?);

-- RETR of more than a chunk
SELECT "chunks"."number", "chunks"."data" FROM "chunks" WHERE "chunks"."content_id" = ? AND "chunks"."number" >= ? AND "chunks"."number" < ? ORDER BY "chunks"."number" ASC;

-- TOP
SELECT 0 AS "is_trace", "chunks"."content_id" AS "key", SUBSTR("chunks"."data", 1, ?) AS "data" FROM "chunks" WHERE "chunks"."number" = 0 AND "chunks"."content_id" = ?;

-- TOP with trace headers
SELECT 0 AS "is_trace", "chunks"."content_id" AS "key", SUBSTR("chunks"."data", 1, ?) AS "data" FROM "chunks" WHERE "chunks"."number" = 0 AND "chunks"."content_id" = ? UNION ALL SELECT 1 AS "is_trace", "trace_headers"."message_id" AS "key", "trace_headers"."data" FROM "trace_headers" WHERE "trace_headers"."message_id" IN (?);

-- QUIT or delivery: lock
UPDATE "users" SET "maildrop_version" = "users"."maildrop_version" + 1 WHERE "users"."id" IN (?) AND "users"."removed_at_ms" IS NULL RETURNING "users"."id", "users"."maildrop_version", "users"."quota_octets", "users"."quota_messages", CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now_ms;

-- QUIT or delivery: wait for the lock
UPDATE "users" SET "maildrop_version" = "users"."maildrop_version" + 1 WHERE "users"."id" IN (?, ?, ?, ?) AND "users"."removed_at_ms" IS NULL RETURNING "users"."id", "users"."maildrop_version", "users"."quota_octets", "users"."quota_messages", CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now_ms;

-- lock of an account
SELECT "users"."id", "users"."maildrop_version", "users"."quota_octets", "users"."quota_messages", CAST(unixepoch('subsec') * 1000 AS INTEGER) AS "now_ms" FROM "users" WHERE "users"."id" IN (?) ORDER BY "users"."id" ASC ;

-- QUIT: deletion
INSERT INTO "deletions" ("user_id", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") VALUES (?, ?, ?, CAST(unixepoch('subsec') * 1000 AS INTEGER), 0);

-- QUIT: deletion with retention
INSERT INTO "deletions" ("user_id", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") VALUES (?, ?, ?, CAST(unixepoch('subsec') * 1000 AS INTEGER), (CAST(unixepoch('subsec') * 1000 AS INTEGER)) + ?);

-- QUIT: move messages
INSERT INTO "deleted_messages" ("message_id", "content_id", "user_id", "octets", "trace_octets", "unique_id", "received_at_ms", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") SELECT "messages"."id", "messages"."content_id", "messages"."user_id", "messages"."octets", "messages"."trace_octets", "messages"."unique_id", "messages"."received_at_ms", "deletions"."maildrop_version", "deletions"."session_id", "deletions"."deleted_at_ms", "deletions"."kept_until_ms" FROM "messages" LEFT JOIN "deletions" ON "deletions"."user_id" = ? AND "deletions"."maildrop_version" = ? WHERE "messages"."user_id" + 0 = ? AND "messages"."id" IN (?) AND (NOT EXISTS(SELECT "deletion_batches"."user_id" FROM "deletion_batches" WHERE "deletion_batches"."user_id" = ?));

-- QUIT: move messages
DELETE FROM "messages" WHERE "messages"."user_id" + 0 = ? AND "messages"."id" IN (?) AND (NOT EXISTS(SELECT "deletion_batches"."user_id" FROM "deletion_batches" WHERE "deletion_batches"."user_id" = ?));

-- move a batch
INSERT INTO "deleted_messages" ("message_id", "content_id", "user_id", "octets", "trace_octets", "unique_id", "received_at_ms", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") SELECT "messages"."id", "messages"."content_id", "messages"."user_id", "messages"."octets", "messages"."trace_octets", "messages"."unique_id", "messages"."received_at_ms", "deletions"."maildrop_version", "deletions"."session_id", "deletions"."deleted_at_ms", "deletions"."kept_until_ms" FROM "messages" LEFT JOIN "deletions" ON "deletions"."user_id" = ? AND "deletions"."maildrop_version" = ? WHERE "messages"."user_id" + 0 = ? AND "messages"."id" IN (?);

-- move a batch
DELETE FROM "messages" WHERE "messages"."user_id" + 0 = ? AND "messages"."id" IN (?);

-- expiry
INSERT INTO "deleted_messages" ("message_id", "content_id", "user_id", "octets", "trace_octets", "unique_id", "received_at_ms", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") SELECT "messages"."id", "messages"."content_id", "messages"."user_id", "messages"."octets", "messages"."trace_octets", "messages"."unique_id", "messages"."received_at_ms", "deletions"."maildrop_version", "deletions"."session_id", "deletions"."deleted_at_ms", "deletions"."kept_until_ms" FROM "messages" LEFT JOIN "deletions" ON "deletions"."user_id" = ? AND "deletions"."maildrop_version" = ? WHERE "messages"."user_id" + 0 = ? AND "messages"."id" IN (?) AND (NOT EXISTS(SELECT "deletion_batches"."user_id" FROM "deletion_batches" WHERE "deletion_batches"."user_id" = ?)) AND "messages"."stored_at_ms" < ?;

-- expiry
DELETE FROM "messages" WHERE "messages"."user_id" + 0 = ? AND "messages"."id" IN (?) AND (NOT EXISTS(SELECT "deletion_batches"."user_id" FROM "deletion_batches" WHERE "deletion_batches"."user_id" = ?)) AND "messages"."stored_at_ms" < ?;

-- RCPT
SELECT "addresses"."address" AS "found_by", "addresses"."user_id", "users"."address", "users"."quota_octets", "users"."quota_messages", (CASE WHEN ("users"."quota_messages" IS NULL) THEN 0 ELSE (SELECT COUNT(*) FROM "messages" WHERE "messages"."user_id" = "users"."id") - (SELECT CAST(COALESCE(SUM("deletion_batches"."messages"), 0) AS BIGINT) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = "users"."id") END) AS "messages", (CASE WHEN ("users"."quota_octets" IS NULL) THEN 0 ELSE (SELECT CAST(COALESCE(SUM("messages"."octets"), 0) AS BIGINT) FROM "messages" WHERE "messages"."user_id" = "users"."id") - (SELECT CAST(COALESCE(SUM("deletion_batches"."octets"), 0) AS BIGINT) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = "users"."id") END) AS "octets" FROM "addresses" INNER JOIN "users" ON "addresses"."user_id" = "users"."id" WHERE "addresses"."address" IN (?);

-- delivery: quota
SELECT (SELECT COUNT(*) FROM "messages" WHERE "messages"."user_id" = ?) - (SELECT CAST(COALESCE(SUM("deletion_batches"."messages"), 0) AS BIGINT) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = ?) AS "messages", (SELECT CAST(COALESCE(SUM("messages"."octets"), 0) AS BIGINT) FROM "messages" WHERE "messages"."user_id" = ?) - (SELECT CAST(COALESCE(SUM("deletion_batches"."octets"), 0) AS BIGINT) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = ?) AS "octets";

-- delivery: contents
INSERT INTO "contents" ("octets", "digest") VALUES (?, ?) RETURNING "id", "digest";

-- delivery: chunks
INSERT INTO "chunks" ("content_id", "number", "data") VALUES (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?);

-- delivery: messages
INSERT INTO "messages" ("user_id", "content_id", "octets", "unique_id", "received_at_ms", "stored_at_ms", "trace_octets") VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING "id", "user_id", "unique_id";

-- delivery: trace headers
INSERT INTO "trace_headers" ("message_id", "data") VALUES (?, ?);

-- PostgreSQL

-- login
SELECT "api_keys"."user_id", "users"."address", "users"."maildrop_version", "api_keys"."id" AS "key_id", "api_keys"."name", "api_keys"."hash", "api_keys"."scopes", "api_keys"."networks" FROM "api_keys" INNER JOIN "users" ON "api_keys"."user_id" = "users"."id" WHERE "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > ((SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)))) AND "api_keys"."prefix" = $1 AND EXISTS(SELECT "addresses"."user_id" FROM "addresses" WHERE "addresses"."address" IN ($2) AND "addresses"."user_id" = "users"."id");

-- login with an identity
SELECT "api_keys"."user_id", "users"."address", "users"."maildrop_version", "api_keys"."id" AS "key_id", "api_keys"."name", "api_keys"."hash", "api_keys"."scopes", "api_keys"."networks" FROM "api_keys" INNER JOIN "users" ON "api_keys"."user_id" = "users"."id" WHERE "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > ((SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)))) AND "api_keys"."prefix" = $1 AND EXISTS(SELECT "addresses"."user_id" FROM "addresses" WHERE "addresses"."address" IN ($2) AND "addresses"."user_id" = "users"."id") AND EXISTS(SELECT "addresses"."user_id" FROM "addresses" WHERE "addresses"."address" IN ($3) AND "addresses"."user_id" = "users"."id");

-- login after SCRAM
SELECT "api_keys"."user_id", "users"."address", "users"."maildrop_version", "api_keys"."id" AS "key_id", "api_keys"."name", "api_keys"."hash", "api_keys"."scopes", "api_keys"."networks" FROM "api_keys" INNER JOIN "users" ON "api_keys"."user_id" = "users"."id" WHERE "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > ((SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)))) AND "api_keys"."id" = $1;

-- SCRAM
SELECT "api_keys"."id", "api_keys"."verifier", "api_keys"."scopes", "api_keys"."networks" FROM "addresses" INNER JOIN "users" ON "users"."id" = "addresses"."user_id" INNER JOIN "api_keys" ON "api_keys"."user_id" = "users"."id" WHERE "addresses"."address" IN ($1) AND "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > ((SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)))) AND "api_keys"."verifier" IS NOT NULL ORDER BY COALESCE("api_keys"."last_used_at_ms", "api_keys"."created_at_ms") DESC, "api_keys"."id" DESC LIMIT $2;

-- SCRAM with the name of a key
SELECT "api_keys"."id", "api_keys"."verifier", "api_keys"."scopes", "api_keys"."networks" FROM "addresses" INNER JOIN "users" ON "users"."id" = "addresses"."user_id" INNER JOIN "api_keys" ON "api_keys"."user_id" = "users"."id" WHERE "addresses"."address" IN ($1) AND "api_keys"."revoked_at_ms" IS NULL AND "users"."disabled_at_ms" IS NULL AND ("api_keys"."expires_at_ms" IS NULL OR "api_keys"."expires_at_ms" > ((SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)))) AND EXISTS(SELECT "addresses"."user_id" FROM "addresses" WHERE "addresses"."address" IN ($2) AND "addresses"."user_id" = "users"."id") AND "api_keys"."name" = $3 AND "api_keys"."verifier" IS NOT NULL ORDER BY COALESCE("api_keys"."last_used_at_ms", "api_keys"."created_at_ms") DESC, "api_keys"."id" DESC LIMIT $4;

-- login by certificate
SELECT "users"."id", "users"."address", "users"."maildrop_version", "addresses"."address" AS "other_address" FROM "addresses" AS "meant" INNER JOIN "users" ON "meant"."user_id" = "users"."id" INNER JOIN "addresses" ON "addresses"."user_id" = "users"."id" WHERE "meant"."address" IN ($1) AND "users"."disabled_at_ms" IS NULL;

-- open all
SELECT "messages"."id", "messages"."content_id", "messages"."octets", "messages"."unique_id", "messages"."trace_octets", (SELECT COUNT(*) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = $1) AS "batches" FROM "messages" WHERE "messages"."user_id" = $2 ORDER BY "messages"."received_at_ms" ASC, "messages"."id" ASC LIMIT $3;

-- open the newest
SELECT "messages"."id", "messages"."content_id", "messages"."octets", "messages"."unique_id", "messages"."trace_octets", (SELECT COUNT(*) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = $1) AS "batches", (SELECT COUNT(*) FROM "messages" WHERE "messages"."user_id" = $2) AS "messages" FROM "messages" WHERE "messages"."user_id" = $3 ORDER BY "messages"."received_at_ms" DESC, "messages"."id" DESC LIMIT $4;

-- RETR
SELECT 0 AS "is_trace", "chunks"."content_id" AS "key", "chunks"."data" AS "data" FROM "chunks" WHERE "chunks"."number" = 0 AND "chunks"."content_id" IN ($1);

-- RETR with trace headers
SELECT 0 AS "is_trace", "chunks"."content_id" AS "key", "chunks"."data" AS "data" FROM "chunks" WHERE "chunks"."number" = 0 AND "chunks"."content_id" IN ($1, $2, $3, $4) UNION ALL (SELECT 1 AS "is_trace", "trace_headers"."message_id" AS "key", "trace_headers"."data" FROM "trace_headers" WHERE "trace_headers"."message_id" IN ($5));

-- RETR of more than a chunk
SELECT "chunks"."number", "chunks"."data" FROM "chunks" WHERE "chunks"."content_id" = $1 AND "chunks"."number" >= $2 AND "chunks"."number" < $3 ORDER BY "chunks"."number" ASC;

-- TOP
SELECT 0 AS "is_trace", "chunks"."content_id" AS "key", SUBSTR("chunks"."data", 1, $1) AS "data" FROM "chunks" WHERE "chunks"."number" = 0 AND "chunks"."content_id" = $2;

-- TOP with trace headers
SELECT 0 AS "is_trace", "chunks"."content_id" AS "key", SUBSTR("chunks"."data", 1, $1) AS "data" FROM "chunks" WHERE "chunks"."number" = 0 AND "chunks"."content_id" = $2 UNION ALL (SELECT 1 AS "is_trace", "trace_headers"."message_id" AS "key", "trace_headers"."data" FROM "trace_headers" WHERE "trace_headers"."message_id" IN ($3));

-- QUIT or delivery: lock
WITH "locked" AS (SELECT "users"."id" FROM "users" WHERE "users"."id" IN ($1) AND "users"."removed_at_ms" IS NULL ORDER BY "users"."id" ASC FOR NO KEY UPDATE SKIP LOCKED) UPDATE "users" SET "maildrop_version" = "users"."maildrop_version" + 1 FROM "locked" WHERE "users"."id" = "locked"."id" RETURNING "users"."id", "users"."maildrop_version", "users"."quota_octets", "users"."quota_messages", (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)) AS now_ms;

-- QUIT or delivery: wait for the lock
WITH "locked" AS (SELECT "users"."id" FROM "users" WHERE "users"."id" IN ($1, $2, $3, $4) AND "users"."removed_at_ms" IS NULL ORDER BY "users"."id" ASC FOR NO KEY UPDATE) UPDATE "users" SET "maildrop_version" = "users"."maildrop_version" + 1 FROM "locked" WHERE "users"."id" = "locked"."id" RETURNING "users"."id", "users"."maildrop_version", "users"."quota_octets", "users"."quota_messages", (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)) AS now_ms;

-- lock of an account
SELECT "users"."id", "users"."maildrop_version", "users"."quota_octets", "users"."quota_messages", (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)) AS "now_ms" FROM "users" WHERE "users"."id" IN ($1) ORDER BY "users"."id" ASC FOR NO KEY UPDATE SKIP LOCKED;

-- QUIT: deletion
INSERT INTO "deletions" ("user_id", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") VALUES ($1, $2, $3, (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)), 0);

-- QUIT: deletion with retention
INSERT INTO "deletions" ("user_id", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") VALUES ($1, $2, $3, (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)), ((SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT))) + $4);

-- QUIT: move messages
WITH "gone" AS (DELETE FROM "messages" WHERE "messages"."user_id" + 0 = $1 AND "messages"."id" IN ($2) AND (NOT EXISTS(SELECT "deletion_batches"."user_id" FROM "deletion_batches" WHERE "deletion_batches"."user_id" = $3)) RETURNING *) INSERT INTO "deleted_messages" ("message_id", "content_id", "user_id", "octets", "trace_octets", "unique_id", "received_at_ms", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") SELECT "gone"."id", "gone"."content_id", "gone"."user_id", "gone"."octets", "gone"."trace_octets", "gone"."unique_id", "gone"."received_at_ms", "deletions"."maildrop_version", "deletions"."session_id", "deletions"."deleted_at_ms", "deletions"."kept_until_ms" FROM "gone" LEFT JOIN "deletions" ON "deletions"."user_id" = $4 AND "deletions"."maildrop_version" = $5 ORDER BY "gone"."content_id" ASC;

-- move a batch
WITH "gone" AS (DELETE FROM "messages" WHERE "messages"."user_id" + 0 = $1 AND "messages"."id" IN ($2) RETURNING *) INSERT INTO "deleted_messages" ("message_id", "content_id", "user_id", "octets", "trace_octets", "unique_id", "received_at_ms", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") SELECT "gone"."id", "gone"."content_id", "gone"."user_id", "gone"."octets", "gone"."trace_octets", "gone"."unique_id", "gone"."received_at_ms", "deletions"."maildrop_version", "deletions"."session_id", "deletions"."deleted_at_ms", "deletions"."kept_until_ms" FROM "gone" LEFT JOIN "deletions" ON "deletions"."user_id" = $3 AND "deletions"."maildrop_version" = $4 ORDER BY "gone"."content_id" ASC;

-- expiry
WITH "gone" AS (DELETE FROM "messages" WHERE "messages"."user_id" + 0 = $1 AND "messages"."id" IN ($2) AND (NOT EXISTS(SELECT "deletion_batches"."user_id" FROM "deletion_batches" WHERE "deletion_batches"."user_id" = $3)) AND "messages"."stored_at_ms" < $4 RETURNING *) INSERT INTO "deleted_messages" ("message_id", "content_id", "user_id", "octets", "trace_octets", "unique_id", "received_at_ms", "maildrop_version", "session_id", "deleted_at_ms", "kept_until_ms") SELECT "gone"."id", "gone"."content_id", "gone"."user_id", "gone"."octets", "gone"."trace_octets", "gone"."unique_id", "gone"."received_at_ms", "deletions"."maildrop_version", "deletions"."session_id", "deletions"."deleted_at_ms", "deletions"."kept_until_ms" FROM "gone" LEFT JOIN "deletions" ON "deletions"."user_id" = $5 AND "deletions"."maildrop_version" = $6 ORDER BY "gone"."content_id" ASC;

-- RCPT
SELECT "addresses"."address" AS "found_by", "addresses"."user_id", "users"."address", "users"."quota_octets", "users"."quota_messages", (CASE WHEN ("users"."quota_messages" IS NULL) THEN 0 ELSE (SELECT COUNT(*) FROM "messages" WHERE "messages"."user_id" = "users"."id") - (SELECT CAST(COALESCE(SUM("deletion_batches"."messages"), 0) AS BIGINT) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = "users"."id") END) AS "messages", (CASE WHEN ("users"."quota_octets" IS NULL) THEN 0 ELSE (SELECT CAST(COALESCE(SUM("messages"."octets"), 0) AS BIGINT) FROM "messages" WHERE "messages"."user_id" = "users"."id") - (SELECT CAST(COALESCE(SUM("deletion_batches"."octets"), 0) AS BIGINT) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = "users"."id") END) AS "octets" FROM "addresses" INNER JOIN "users" ON "addresses"."user_id" = "users"."id" WHERE "addresses"."address" IN ($1);

-- delivery: quota
SELECT (SELECT COUNT(*) FROM "messages" WHERE "messages"."user_id" = $1) - (SELECT CAST(COALESCE(SUM("deletion_batches"."messages"), 0) AS BIGINT) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = $2) AS "messages", (SELECT CAST(COALESCE(SUM("messages"."octets"), 0) AS BIGINT) FROM "messages" WHERE "messages"."user_id" = $3) - (SELECT CAST(COALESCE(SUM("deletion_batches"."octets"), 0) AS BIGINT) FROM "deletion_batches" WHERE "deletion_batches"."user_id" = $4) AS "octets";

-- delivery: contents
INSERT INTO "contents" ("octets", "digest") VALUES ($1, $2) RETURNING "id", "digest";

-- delivery: chunks
INSERT INTO "chunks" ("content_id", "number", "data") VALUES ($1, $2, $3), ($4, $5, $6), ($7, $8, $9), ($10, $11, $12);

-- delivery: messages
INSERT INTO "messages" ("user_id", "content_id", "octets", "unique_id", "received_at_ms", "stored_at_ms", "trace_octets") VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING "id", "user_id", "unique_id";

-- delivery: trace headers
INSERT INTO "trace_headers" ("message_id", "data") VALUES ($1, $2);
