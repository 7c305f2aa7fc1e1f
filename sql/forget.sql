-- Erasure: the one exception to events being immutable.

-- Erases what is known of a tenant, or of one key of it: the bodies of its events, what was answered, the headers sent;
-- forgets its idempotency keys; ends what is owed as cancelled. In the caller's transaction. That there were events, of
-- which type, key and time, and what became of them, stays until the retention.
--
--   tenant, key   as given to webhook_emit(); tenant NULL is the house itself, and then needs a key
--
-- Returns how many events were erased. What is being sent at the moment is recorded afterwards, answer and all: call it
-- again after the time-out of the endpoints.
CREATE FUNCTION @extschema@.webhook_forget(tenant text, key text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
  page webhook.queue[];
  ids uuid[];
  last_endpoint int := -2147483648;
  last_event uuid := '00000000-0000-0000-0000-000000000000';
  erased bigint := 0;
  erased_now bigint;
BEGIN
  IF tenant IS NULL AND key IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'tenant and key are NULL',
      HINT = 'Give a tenant, or NULL and a key of the house''s own events.';
  END IF;

  PERFORM webhook.plan_for_full_queue();
  DELETE FROM webhook.idempotency i
  WHERE (i.tenant = tenant OR (i.tenant IS NULL AND tenant IS NULL))
    AND (key IS NULL OR EXISTS (SELECT FROM webhook.event e WHERE e.id = i.event_id AND e.key = key));

  LOOP
    ids := ARRAY(
      SELECT e.id FROM webhook.event e
      WHERE e.id > last_event AND (e.tenant = tenant OR (e.tenant IS NULL AND tenant IS NULL)) AND (key IS NULL OR e.key = key)
      ORDER BY e.id LIMIT 10000);
    EXIT WHEN ids = '{}';
    UPDATE webhook.event e SET body = '' FROM unnest(ids) i (id) WHERE e.id = i.id AND e.body <> '';
    GET DIAGNOSTICS erased_now = ROW_COUNT;
    erased := erased + erased_now;
    UPDATE webhook.event_body b SET body = '' FROM unnest(ids) i (id) WHERE b.event_id = i.id AND b.body <> '';
    UPDATE webhook.attempt a SET response_body = NULL, response_headers = NULL, request_headers = NULL, callback_error = NULL
    FROM unnest(ids) i (id)
    WHERE a.event_id = i.id AND (a.response_body IS NOT NULL OR a.response_headers IS NOT NULL OR a.request_headers IS NOT NULL
      OR a.callback_error IS NOT NULL);
    last_event := ids[cardinality(ids)];
  END LOOP;
  -- After the events: whoever owes one of them again holds it locked, or will find it erased. All of the queue is read, a
  -- page at a time.
  last_event := '00000000-0000-0000-0000-000000000000';
  LOOP
    page := ARRAY(
      SELECT q FROM webhook.queue q WHERE (q.endpoint_id, q.event_id) > (last_endpoint, last_event)
      ORDER BY q.endpoint_id, q.event_id LIMIT 10000);
    EXIT WHEN page = '{}';
    last_endpoint := page[cardinality(page)].endpoint_id;
    last_event := page[cardinality(page)].event_id;
    page := ARRAY(
      SELECT q FROM unnest(page) p JOIN webhook.event e ON e.id = p.event_id
      JOIN webhook.queue q ON q.endpoint_id = p.endpoint_id AND q.event_id = p.event_id
      WHERE e.body = '' ORDER BY q.endpoint_id, q.event_id FOR UPDATE OF q);
    PERFORM webhook.end_owed(page, 'cancelled', 'erased');
  END LOOP;
  RETURN erased;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_forget(text, text)
  IS 'Erase the bodies of a tenant''s events, or of one key of it, with what was answered, and cancel what is owed; returns how many events. What is being sent at the moment is recorded afterwards: call it again after the time-out';
