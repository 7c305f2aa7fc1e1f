-- webhook.attempt: one row per HTTP request made, and one (number 0) per delivery that ended without one.
-- Append-only, partitioned as webhook.event is and by the same bounds, so that an event and what became of it
-- are retired together.
CREATE TABLE webhook.attempt (
  event_id uuid NOT NULL,
  id uuid NOT NULL,
  endpoint_id int NOT NULL,
  number int NOT NULL,
  started_at timestamptz,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  duration interval,
  status_code int,
  final boolean NOT NULL,
  outcome text NOT NULL,
  error text,
  url text,
  remote_address text,
  request_headers json,
  response_headers json,
  response_body text,
  callback_error text,
  CONSTRAINT attempt_outcome CHECK (outcome = ANY ('{delivered,retry,failed,skipped,expired,cancelled}'::text[])),
  CONSTRAINT attempt_final CHECK (final = (outcome <> 'retry')),
  CONSTRAINT attempt_request CHECK ((number = 0) = (started_at IS NULL))
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE webhook.attempt IS 'Every request made and what came of it; number 0 where no request was made';
COMMENT ON COLUMN webhook.attempt.id IS 'new for each request';
COMMENT ON COLUMN webhook.attempt.recorded_at IS 'by the clock, after what else could end the delivery: the last to be recorded is what became of it';
COMMENT ON COLUMN webhook.attempt.outcome IS 'delivered | retry | failed | skipped | expired | cancelled';
COMMENT ON COLUMN webhook.attempt.final IS 'the delivery ended with this row';
COMMENT ON COLUMN webhook.attempt.request_headers IS 'headers as sent; values of custom headers are redacted';
COMMENT ON COLUMN webhook.attempt.response_headers IS 'several of one name are joined by a comma';
COMMENT ON COLUMN webhook.attempt.callback_error IS 'why the endpoint''s on_delivered or on_failed, called for this outcome, did nothing';

CREATE TABLE webhook.attempt_default PARTITION OF webhook.attempt DEFAULT;
CREATE INDEX attempt_default_endpoint ON webhook.attempt_default (endpoint_id, event_id, number);
CREATE INDEX attempt_default_event ON webhook.attempt_default (event_id, number);
-- So that what failed is found among what was delivered: in the log, for a replay.
CREATE INDEX attempt_default_undelivered ON webhook.attempt_default (endpoint_id, event_id, number) WHERE outcome <> 'delivered';
-- So that the janitor sees whether what expired could be read for long enough.
CREATE INDEX attempt_default_expired ON webhook.attempt_default (event_id, recorded_at) WHERE outcome = 'expired';
