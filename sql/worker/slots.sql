-- Slots: shares of the endpoints, each owned by one worker session at a time through a lock of a private lock space
-- (see extension/src/lock.rs) that goes when the session goes. An endpoint belongs to slot (id modulo slots).

-- Slots that a worker took and has not given back in order: whoever takes one of them next takes it over from a worker
-- that ended without a word, whose requests may still be under way. Not dumped: it is about workers here.
CREATE TABLE webhook.taken_slot (slots int, slot int, PRIMARY KEY (slots, slot));
COMMENT ON TABLE webhook.taken_slot IS 'Slots that workers took and have not given back';
COMMENT ON COLUMN webhook.taken_slot.slots IS 'how many slots there were in all';

-- Joins the fleet: the session is counted by worker_beat() until it ends.
CREATE FUNCTION webhook.worker_join() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook.lock_member();
END
$$;

-- After the setting `slots` was changed: whether all slots of the former number are free, so that nobody sends for the
-- endpoints in them any more. What a worker left behind there passes to the slots that have those endpoints now.
CREATE FUNCTION webhook.renumber_slots(slots int) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  former webhook.taken_slot;
BEGIN
  FOR former IN SELECT t.* FROM webhook.taken_slot t WHERE t.slots <> slots LOOP
    IF NOT webhook.try_lock_slot(former.slots, former.slot) THEN
      RETURN false;
    END IF;
    PERFORM webhook.unlock_slot(former.slots, former.slot);
    INSERT INTO webhook.taken_slot
    SELECT slots, s FROM generate_series(0, slots - 1) s WHERE (s - former.slot) % gcd(slots, former.slots) = 0
    ON CONFLICT DO NOTHING;
    DELETE FROM webhook.taken_slot t WHERE t.slots = former.slots AND t.slot = former.slot;
  END LOOP;
  RETURN true;
END
$$;

-- Takes up to `wanted` of `slots` slots that nobody owns, beyond those in `held`; returns the ones taken, and which of
-- them were not given back by whoever had them before. None if there are another number of slots now, or while a worker
-- still finishes what is under way from when there were.
CREATE FUNCTION webhook.worker_take_slots(slots int, held int[], wanted int, OUT taken int[], OUT abandoned int[]) RETURNS record
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  slot int;
BEGIN
  taken := '{}';
  abandoned := '{}';
  -- One worker at a time: each sees what the others have.
  LOCK TABLE webhook.taken_slot IN SHARE ROW EXCLUSIVE MODE;
  IF slots <> webhook.setting('slots')::int OR NOT webhook.renumber_slots(slots) THEN
    RETURN;
  END IF;
  FOR slot IN SELECT s FROM generate_series(0, slots - 1) s WHERE s <> ALL (held) ORDER BY random() LOOP
    EXIT WHEN cardinality(taken) >= wanted;
    IF webhook.try_lock_slot(slots, slot) THEN
      taken := taken || slot;
    END IF;
  END LOOP;
  abandoned := ARRAY(SELECT t.slot FROM webhook.taken_slot t WHERE t.slots = slots AND t.slot = ANY (taken));
  INSERT INTO webhook.taken_slot SELECT slots, unnest(taken) ON CONFLICT DO NOTHING;
END
$$;

-- Gives a slot back; what was in flight for its endpoints must have been recorded before.
CREATE FUNCTION webhook.worker_release_slot(slots int, slot int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  -- Before the lock: whoever takes it next must find it given back.
  DELETE FROM webhook.taken_slot t WHERE t.slots = slots AND t.slot = slot;
  RETURN webhook.unlock_slot(slots, slot);
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
