-- The end of `make run`: what pgbench, the tables, the log and the receiver each counted, and whether they agree.
-- Variables: transactions (pgbench's own count), stats (the receiver's, JSON).
\set QUIET on
\pset format aligned
\pset tuples_only off
\pset footer off
\pset linestyle ascii
ANALYZE webhook.event, webhook.attempt, webhook.queue;

-- pgbench writes delta 0 once in 10,001 transactions: three updates that change nothing, which are no event.
CREATE TEMPORARY TABLE counted AS
SELECT :transactions::bigint AS transactions, h.*, e.*, d.*, a.*, r.*, 4 * h.history - 3 * h.idle AS changes
FROM
  (SELECT count(*) AS history, count(*) FILTER (WHERE delta = 0) AS idle, coalesce(sum(delta), 0) AS delta FROM pgbench_history) h,
  (SELECT count(*) AS events FROM webhook.event) e,
  (SELECT count(*) AS deliveries, count(DISTINCT event_id) AS delivered_events,
     count(*) FILTER (WHERE status <> 'delivered') AS undelivered FROM webhook.delivery) d,
  (SELECT count(*) AS attempts FROM webhook.delivery_log WHERE number > 0) a,
  jsonb_to_record(:'stats') AS r(received bigint, verified bigint, rejected bigint, distinct_events bigint, p50_ms numeric, p99_ms numeric);

CREATE TEMPORARY TABLE report AS
SELECT line.* FROM counted c, LATERAL (VALUES
  (1, 'transactions committed, as pgbench says', c.transactions::text, c.transactions > 0),
  (2, 'rows of pgbench_history, one a transaction', c.history::text, c.history = c.transactions),
  (3, 'balances of accounts, tellers, branches', c.delta::text,
     c.delta = ALL (SELECT sum(abalance) FROM pgbench_accounts UNION ALL SELECT sum(tbalance) FROM pgbench_tellers UNION ALL SELECT sum(bbalance) FROM pgbench_branches)),
  (4, 'row changes, four a transaction' || CASE WHEN c.idle > 0 THEN format(' less %s updates by 0', 3 * c.idle) ELSE '' END,
     c.changes::text, true),
  (5, 'events', c.events::text, c.events = c.changes),
  (6, 'deliveries, one an event', c.deliveries::text, c.deliveries = c.events AND c.delivered_events = c.events),
  (7, 'of these failed or unfinished', c.undelivered::text, c.undelivered = 0),
  (8, 'attempts in the log', c.attempts::text, true),
  (9, 'requests that the receiver got', c.received::text, c.received = c.attempts),
  (10, 'of these verified by standardwebhooks', c.verified::text, c.verified = c.received AND c.rejected = 0),
  (11, 'distinct events that the receiver got', c.distinct_events::text, c.distinct_events = c.events),
  (12, 'commit to arrival, p50 and p99, ms', format('%s and %s', round(c.p50_ms, 1), round(c.p99_ms, 1)), c.p50_ms <= c.p99_ms)
) AS line(place, what, count, agrees);

\echo
SELECT what, lpad(count, 16) AS count, CASE WHEN coalesce(agrees, false) THEN 'ok' ELSE 'WRONG' END AS " " FROM report ORDER BY place;

\echo The same in SQL:
\set ECHO queries
SELECT type, count(*) AS events FROM webhook.event GROUP BY type ORDER BY type;
SELECT status, attempts, count(*) AS deliveries FROM webhook.delivery GROUP BY status, attempts ORDER BY 1, 2;
SELECT outcome, status_code, count(*) AS attempts, avg(duration) AS mean_duration FROM webhook.delivery_log GROUP BY outcome, status_code ORDER BY 1, 2;
\set ECHO none

\pset tuples_only on
\pset format unaligned
SELECT CASE WHEN bool_and(coalesce(agrees, false)) THEN 'all agree' ELSE 'these do not agree: ' || string_agg(what, '; ') FILTER (WHERE agrees IS NOT TRUE) END FROM report;
