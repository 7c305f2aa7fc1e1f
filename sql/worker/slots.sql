-- Slots: shares of the endpoints, each owned by one worker session at a time through a lock of a private lock space
-- (see extension/src/lock.rs) that goes when the session goes. An endpoint belongs to slot (id modulo slots).

-- Slots that a worker took and has not given back in order: whoever takes one of them next takes it over from a worker
-- that ended without a word, whose requests may still be under way. Not dumped: it is about workers here.
CREATE TABLE webhook.taken_slot (slot int PRIMARY KEY);
COMMENT ON TABLE webhook.taken_slot IS 'Slots that workers took and have not given back';

-- Joins the fleet: the session is counted by worker_beat() until it ends.
CREATE FUNCTION webhook.worker_join() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook.lock_member();
END
$$;

-- Takes up to `wanted` slots that nobody owns, beyond those in `held`; returns the ones taken, and which of them were
-- not given back by whoever had them before.
CREATE FUNCTION webhook.worker_take_slots(slots int, held int[], wanted int, OUT taken int[], OUT abandoned int[]) RETURNS record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  slot int;
BEGIN
  taken := '{}';
  FOR slot IN SELECT s FROM generate_series(0, slots - 1) s WHERE s <> ALL (held) ORDER BY random() LOOP
    EXIT WHEN cardinality(taken) >= wanted;
    IF webhook.try_lock_slot(slot) THEN
      taken := taken || slot;
    END IF;
  END LOOP;
  abandoned := ARRAY(SELECT s.slot FROM webhook.taken_slot s WHERE s.slot = ANY (taken));
  INSERT INTO webhook.taken_slot SELECT unnest(taken) ON CONFLICT DO NOTHING;
END
$$;

-- Gives a slot back; what was in flight for its endpoints must have been recorded before.
CREATE FUNCTION webhook.worker_release_slot(slot int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Before the lock: whoever takes it next must find it given back.
  DELETE FROM webhook.taken_slot s WHERE s.slot = worker_release_slot.slot;
  RETURN webhook.unlock_slot(slot);
END
$$;

-- Once a second on the owning connection: it is alive, how many workers there are, and what time it is.
CREATE FUNCTION webhook.worker_beat(
  OUT members int, OUT now timestamptz, OUT arm_id uuid, OUT in_recovery boolean, OUT slots int
) RETURNS record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT webhook.count_members(), clock_timestamp(), webhook.arm_id(), pg_is_in_recovery(),
    webhook.setting('slots')::int
$$;
