-- A small site: Alice's key is the base64 of the octets 0 to 31.
INSERT INTO "Users" ("Id","OidcSubject","OidcIssuer","Email","DisplayName","CreatedAt") VALUES
 ('11111111-1111-4111-8111-111111111111','sub-alice','https://idp.example','Alice@Example.com','Alice',now()),
 ('22222222-2222-4222-8222-222222222222','sub-bob','https://idp.example','bob@example.com','Bob',now());
INSERT INTO "UserEmailAddresses" ("Id","UserId","Address","IsVerified","AddedAt") VALUES
 ('31111111-1111-4111-8111-111111111111','11111111-1111-4111-8111-111111111111','alias@example.com',true,now());
INSERT INTO "SmtpApiKeys" ("Id","UserId","Name","KeyHash","KeyPrefix","Scopes","CreatedAt") VALUES
 ('41111111-1111-4111-8111-111111111111','11111111-1111-4111-8111-111111111111','Thunderbird',
  '$2a$11$N2lWJcVFkzx.EgieyrZN4eZFaR.4wf5hEs94WVUgrKMPN2CsUECbG','AAECAwQFBgcI','["smtp","pop3"]',now()),
 ('42222222-2222-4222-8222-222222222222','22222222-2222-4222-8222-222222222222','smtp only, no prefix (older row)',
  '$2a$11$O5Uy3Jnu4c63t00uNDg98.Ax63LQ1KVKFmK7U3Tq09OlhaYYW82Py',NULL,'["smtp"]',now());
INSERT INTO "Emails" ("Id","MessageId","FromAddress","FromDisplayName","Subject","TextBody","HtmlBody","ReceivedAt","SizeBytes") VALUES
 ('51111111-1111-4111-8111-111111111111','m1@sender.example','carol@sender.example','Carol','Dots',E'first\r\n.\r\n..two\r\nlast\r\n',NULL,'2026-01-01T00:00:00Z',431),
 ('52222222-2222-4222-8222-222222222222','m1@sender.example','carol@sender.example',NULL,'Same Message-ID again','x',NULL,'2026-01-01T00:00:00Z',99),
 ('53333333-3333-4333-8333-333333333333',repeat('long',30)||'@sender.example','carol@sender.example',NULL,'UIDL too long','x','<p>x</p>','2026-01-02T00:00:00Z',120);
INSERT INTO "EmailRecipients" ("Id","EmailId","Address","DisplayName","Type","UserId","IsRead") VALUES
 ('61111111-1111-4111-8111-111111111111','51111111-1111-4111-8111-111111111111','Alice@Example.com','Alice','To','11111111-1111-4111-8111-111111111111',false),
 ('61111111-1111-4111-8111-111111111112','51111111-1111-4111-8111-111111111111','alias@example.com',NULL,'Cc','11111111-1111-4111-8111-111111111111',false),
 ('61111111-1111-4111-8111-111111111113','51111111-1111-4111-8111-111111111111','bob@example.com','Bob','Cc','22222222-2222-4222-8222-222222222222',false),
 ('62222222-2222-4222-8222-222222222221','52222222-2222-4222-8222-222222222222','alice@example.com',NULL,'To','11111111-1111-4111-8111-111111111111',false),
 ('63333333-3333-4333-8333-333333333331','53333333-3333-4333-8333-333333333333','alice@example.com',NULL,'Bcc','11111111-1111-4111-8111-111111111111',false),
 ('63333333-3333-4333-8333-333333333332','53333333-3333-4333-8333-333333333333','ghost@example.com',NULL,'To',NULL,false);
INSERT INTO "EmailAttachments" ("Id","EmailId","FileName","ContentType","SizeBytes","Content") VALUES
 ('71111111-1111-4111-8111-111111111111','53333333-3333-4333-8333-333333333333','a.bin','application/octet-stream',4,'\x00ff0a2e');
