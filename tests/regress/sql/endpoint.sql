-- webhook.endpoint: INSERT, UPDATE and DELETE are the management API.
INSERT INTO webhook.endpoint (url, event_types, name) VALUES ('https://example.com/hooks', '{order.*}', 'orders') RETURNING id, status, scheme;
SELECT endpoint_id, hint LIKE '…____' AS hint, expires_at FROM webhook.endpoint_secret_hint;
SELECT timeout, max_in_flight, retry_schedule, retry_jitter, success_on, give_up_on, disable_on, disable_after FROM webhook.endpoint;
UPDATE webhook.endpoint SET timeout = '5 s', retry_schedule = '{1 min,1 h}' WHERE name = 'orders' RETURNING timeout, retry_schedule;
SELECT length(webhook_rotate_secret(1)) > 40 AS fresh;
SELECT count(*), count(expires_at) FROM webhook.endpoint_secret_hint;
-- what is refused
INSERT INTO webhook.endpoint (url) VALUES ('ftp://example.com');
UPDATE webhook.endpoint SET event_types = '{order.*.paid}';
UPDATE webhook.endpoint SET status = 'off';
UPDATE webhook.endpoint SET scheme = 'none';
UPDATE webhook.endpoint SET headers = '{"Host": "x"}';
UPDATE webhook.endpoint SET success_on = '{[200,1000)}';
TRUNCATE webhook.endpoint;
DELETE FROM webhook.endpoint;
SELECT count(*) FROM webhook.endpoint_secret_hint;
SELECT count(*) FROM webhook.endpoint_health;
