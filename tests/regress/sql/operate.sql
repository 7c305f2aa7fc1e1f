-- Settings, leaves, arming: what an operator does.
SELECT name, value FROM webhook.setting_default() ORDER BY name;
INSERT INTO webhook.setting VALUES ('retention', '30 days') RETURNING name, value;
SELECT webhook.setting('retention'), webhook.setting('slots');
INSERT INTO webhook.setting VALUES ('retention_days', '30');
UPDATE webhook.setting SET value = 'soon';
DELETE FROM webhook.setting;
SELECT webhook.arm_id() IS NOT NULL AS armed;
SELECT webhook_arm() AS fresh \gset
SELECT :'fresh' = webhook.arm_id() AS armed_anew;
SELECT j->'made' AS leaves, j->'expired' AS expired FROM webhook.janitor('2030-01-01 00:00+00') j;
SELECT parent, leaf, from_at AT TIME ZONE 'UTC' AS from_at, to_at AT TIME ZONE 'UTC' AS to_at FROM webhook.leaf ORDER BY leaf::text;
-- nothing is owed any more after the retention
SELECT count(*) FROM webhook_endpoint_create('https://example.com/hooks');
SELECT webhook_emit('a.b', '{}') IS NOT NULL AS emitted;
SELECT j->'expired' AS expired FROM webhook.janitor(now() + interval '15 days') j;
SELECT status, attempts, last_error FROM webhook.delivery;
-- a schedule from four numbers
SELECT webhook_backoff('1 min', 2, '1 h', 10);
SELECT webhook_backoff('100 ms', 1, '100 ms', 3);
UPDATE webhook.endpoint SET retry_schedule = webhook_backoff('1 s', 10, '1 year', 100) RETURNING retry_schedule[1:9], retry_schedule[100];
SELECT webhook_backoff('1 min', 0.9, '1 h', 10);
