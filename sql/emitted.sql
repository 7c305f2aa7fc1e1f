-- The events of this transaction so far, for tests that roll back: those of subtransactions rolled back are not among
-- them, nor those that a source with per_transaction makes when the transaction commits. Ids carry the time they were
-- drawn at; a clock that steps back by more than a minute hides some.
CREATE FUNCTION @extschema@.webhook_emitted() RETURNS SETOF webhook.event
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT e.* FROM webhook.event e
  WHERE e.id >= webhook.first_id_at(now() - interval '1 minute') AND webhook.is_current(e.xmin)
  ORDER BY e.id
$$;
COMMENT ON FUNCTION @extschema@.webhook_emitted() IS 'The events of the current transaction so far, for tests that roll back; a source with per_transaction makes its own at commit';
