-- Housekeeping, by the worker that owns slot 0.
CREATE FUNCTION webhook.worker_janitor() RETURNS jsonb
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT webhook.janitor()
$$;
COMMENT ON FUNCTION webhook.worker_janitor() IS 'Worker: one round of housekeeping';
