-- webhook_emit: an event, its body, its delivery.
SELECT count(*) FROM webhook_endpoint_create('https://example.com/all');
SELECT count(*) FROM webhook_endpoint_create('https://example.com/orders', '{order.*}');
SELECT count(*) FROM webhook_endpoint_create('https://example.com/acme', '{*}', tenant => 'acme');
SELECT webhook_emit('order.paid', '{"id": 42, "note": "\u00fc\"x"}') IS NOT NULL AS emitted;
SELECT webhook_emit('invoice.sent', '[1, 2.50, null]', tenant => 'acme', key => 'invoice:7') IS NOT NULL AS emitted;
SELECT type, tenant, key, regexp_replace(body, '("id":"|"timestamp":")[^"]*"', '\1…"', 'g') AS body FROM webhook.event ORDER BY id;
SELECT q.endpoint_id, e.type, q.due, q.attempts, q.signature LIKE 'v1,%' AS signed
FROM webhook.queue q JOIN webhook.event e ON e.id = q.event_id ORDER BY e.id, q.endpoint_id;
-- the body's id is the event's
SELECT bool_and(body::jsonb->>'id' = id::text) FROM webhook.event;
-- the same idempotency key is the same event
SELECT webhook_emit('a.b', '{}', idempotency_key => 'k') = webhook_emit('a.b', '{}', idempotency_key => 'k') AS same;
SELECT webhook_emit('a.b', '{}', idempotency_key => 'k', tenant => 'acme') IS NOT NULL AS of_another_tenant;
SELECT count(*) FROM webhook.event WHERE type = 'a.b';
-- a delayed event is signed when it is sent
SELECT webhook_emit('late.one', '{}', deliver_at => now() + interval '1 hour') IS NOT NULL AS emitted;
SELECT q.due > now() + interval '59 minutes' AS due_then, q.signature FROM webhook.queue q
JOIN webhook.event e ON e.id = q.event_id WHERE e.type = 'late.one' ORDER BY q.endpoint_id;
-- nothing while suppressed
BEGIN;
SET LOCAL pg_webhook.suppress = on;
SELECT webhook_emit('quiet.one', '{}');
COMMIT;
SELECT count(*) FROM webhook.event WHERE type = 'quiet.one';
-- what is refused
SELECT webhook_emit('order paid', '{}');
SELECT webhook_emit('webhook.test', '{}');
SELECT webhook_emit('order.paid', NULL);
SELECT webhook_emit('order.paid', '{}', deliver_at => '2100-01-01 00:00+00');
