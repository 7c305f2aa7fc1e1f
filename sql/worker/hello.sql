-- First call of a worker, and first of each of its connections: is this a database it can serve?
--
-- contract is an integer that both sides count up when the functions of this folder change; each accepts its own
-- and the one before, so that a fleet can be upgraded in turn.
CREATE FUNCTION webhook.worker_hello(
  OUT contract int, OUT extension_version text, OUT in_recovery boolean, OUT arm_id uuid,
  OUT slots int, OUT response_cap_bytes int, OUT signature_freshness_s float8, OUT now timestamptz
) RETURNS record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 1, e.extversion, pg_is_in_recovery(), webhook.arm_id(),
    webhook.setting('slots')::int, webhook.setting('response_cap_bytes')::int,
    extract(epoch FROM webhook.setting('signature_freshness')::interval)::float8, clock_timestamp()
  FROM pg_extension e WHERE e.extname = 'pg_webhook'
$$;
COMMENT ON FUNCTION webhook.worker_hello() IS 'Worker: contract version, state of the database and settings in force';
