-- webhook_attach: row changes become events.
CREATE TABLE deal (id int PRIMARY KEY, title text, stage text, amount numeric(10,2), secret text);
SELECT webhook_attach('deal', omit => '{secret}');
SELECT webhook_attach('deal', name => 'stage', operations => '{update}', event_names => '{"update": "deal.stage_changed"}',
  watch => '{stage}', omit => '{secret}');
SELECT webhook_attach('deal', name => 'won', operations => '{update}', event_names => '{"update": "deal.won"}',
  condition => 'old.stage <> ''won'' AND new.stage = ''won''', tenant => '''t'' || new.id', key => 'new.title', omit => '{secret}');
INSERT INTO deal VALUES (1, 'Big', 'open', 10, 'x'), (2, 'Small', 'open', 5.5, NULL);
UPDATE deal SET amount = 11 WHERE id = 1;
UPDATE deal SET amount = 11;
UPDATE deal SET secret = 'y';
UPDATE deal SET stage = 'won' WHERE id = 2;
UPDATE deal SET id = 3 WHERE id = 1;
DELETE FROM deal WHERE id = 2;
SELECT type, tenant, key, substring(body FROM '"data":.*') AS data FROM webhook.event ORDER BY id;
-- settings are rows
UPDATE webhook.source SET event_names = '{"insert": "deal.opened"}' WHERE relation = 'deal'::regclass AND name = 'default';
INSERT INTO deal VALUES (4, 'Late', 'open', 1, NULL);
SELECT type FROM webhook.event ORDER BY id DESC LIMIT 1;
SELECT webhook_detach('deal', 'won'), webhook_detach('deal');
INSERT INTO deal VALUES (5, 'Unseen', 'open', 1, NULL);
SELECT count(*) FROM webhook.event WHERE key = 'public.deal:5';
-- what is refused
CREATE VIEW deals AS SELECT * FROM deal;
SELECT webhook_attach('deals');
SELECT webhook_attach('webhook.event');
SELECT webhook_attach('deal', condition => 'new.nothing');
SELECT webhook_attach('deal', operations => '{merge}');
SELECT webhook_attach('deal', watch => '{nothing}');
