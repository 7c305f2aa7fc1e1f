-- History: $ROWS attempts, and their events, of 100 endpoints over the last 14 days, in 8 leaves as the janitor makes them.
SELECT webhook.make_leaf(parent, webhook.first_id_at(at), webhook.first_id_at(at + webhook.leaf_width()))
FROM unnest(ARRAY['event', 'attempt']) parent, generate_series(1, 8) place,
  LATERAL (SELECT date_trunc('hour', now()) - place * (SELECT webhook.leaf_width()) AS at) span;

CREATE UNLOGGED TABLE history AS
SELECT i, at, (translate(format('%s-%s-7', left(ms, 8), right(ms, 4)), ' ', '') || lpad(to_hex(i % 4096), 3, '0') || '-8' || substr(md5(i::text), 1, 3)
  || '-' || lpad(to_hex(i), 12, '0'))::uuid AS id
FROM generate_series(1, $ROWS) i,
  LATERAL (SELECT date_trunc('hour', now()) - 8 * (SELECT webhook.leaf_width()) * (1 - (i - 1) / $ROWS::float8) AS at) a,
  LATERAL (SELECT lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS ms) m;

INSERT INTO webhook.event (id, type, body, created_at) SELECT id, 'order.paid', '{"data":{"id":' || i || '}}', at FROM history;
INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, started_at, recorded_at, duration, status_code, final, outcome, url, remote_address, response_body)
SELECT id, id, i % 100, 1, at, at, '5 ms', 200, true, 'delivered', 'https://customer.example/hooks', '203.0.113.7:443', 'ok' FROM history;
DROP TABLE history;
VACUUM ANALYZE webhook.event;
VACUUM ANALYZE webhook.attempt;
