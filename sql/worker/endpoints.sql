-- Configuration of endpoints for the worker, live secrets and all. An id asked for and not returned does not exist.
-- `allow_http` is the setting as it is now: a restored row, or one from before it was turned off, is judged when it is used.
CREATE FUNCTION webhook.worker_endpoints(ids int[])
RETURNS TABLE (
  endpoint_id int, generation int, revision bigint, status text, tenant text, url text, timeout_s float8, max_in_flight int, rate_limit float8, ordered boolean,
  retry_schedule_s float8[], retry_jitter float8, retry_for_s float8, retry_after_max_s float8,
  success_on jsonb, give_up_on jsonb, disable_on jsonb,
  headers jsonb, secrets text[], consecutive_failures int,
  scheme jsonb, client_certificate text, ca_certificate text, allow_http boolean,
  calls_on_delivered boolean, calls_on_failed boolean
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT e.id, e.generation, e.revision,
    -- Its deliveries wait.
    CASE WHEN e.status = 'disabled' AND e.when_disabled = 'keep' THEN 'paused' ELSE e.status END,
    e.tenant, e.url, extract(epoch FROM e.timeout)::float8, e.max_in_flight, e.rate_limit, e.ordered,
    ARRAY(SELECT extract(epoch FROM step)::float8 FROM unnest(e.retry_schedule) WITH ORDINALITY AS s (step, place) ORDER BY place),
    e.retry_jitter, extract(epoch FROM e.retry_for)::float8, extract(epoch FROM e.retry_after_max)::float8,
    webhook.ranges(e.success_on), webhook.ranges(e.give_up_on), webhook.ranges(e.disable_on),
    e.headers,
    ARRAY(
      SELECT s.secret FROM webhook.endpoint_secret s
      WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())
      ORDER BY s.created_at DESC, s.secret
    ),
    coalesce(h.consecutive_failures, 0),
    to_jsonb(sc), e.client_certificate, e.ca_certificate,
    coalesce(current_setting('pg_webhook.allow_http', true)::boolean, false),
    e.on_delivered IS NOT NULL, e.on_failed IS NOT NULL
  FROM webhook.endpoint e
  LEFT JOIN webhook.endpoint_health h ON h.endpoint_id = e.id
  LEFT JOIN webhook.signature_scheme sc ON sc.name = e.scheme
  WHERE e.id = ANY (worker_endpoints.ids)
$$;

-- A multirange of status codes as [[low, high), …]: [[200, 300]].
CREATE FUNCTION webhook.ranges(codes int4multirange) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_array(coalesce(lower(r), 0), coalesce(upper(r), 1000)) ORDER BY r), '[]')
  FROM unnest(codes) r
$$;
