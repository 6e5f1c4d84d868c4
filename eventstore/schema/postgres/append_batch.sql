-- Judges and writes one batch of one tenant: one round trip, one transaction (see judge.py and
-- calls.py for the rules, which are the same for every engine).
--
-- READ COMMITTED, VOLATILE: each statement in here has a snapshot of its own. The first one locks
-- the tenant's head; whoever waited for it judges by what the next statements see, never by what
-- stood before the wait.
--
-- Names of a batch come once each (p_streams, p_types, p_tags), and are meant by their index.
-- Calls, their parts (one a stream) and the events of those stand one behind the other in arrays.
-- A column that is NULL for all events may be NULL as a whole.
-- p_is_plain: no call has to see what earlier ones wrote, so that all are accepted or, where one
-- of them may not be, all are judged one by one. Offsets count a stream's events in this batch.
-- p_check: the streams' heads are compared with their events (asked for streams new to the client).
-- p_stream_ids: given where the client knows them all and asks nothing of the streams.
-- p_call_flags: 1 = has to see what earlier calls of the batch wrote; 2 = bears given ids.
-- p_part_expected: -1 any version, -2 no stream, -3 an existing stream, else that version.
-- o_statuses: 0 written, 1 stood already, 2 conflict, 3 condition, 4 key with other content, 5 id.
-- NULL where all were accepted in a row: o_position and o_stream_versions say behind what.
-- o_stream_ids: where all were accepted, the ids of p_streams; of no use for one without events.
-- o_details: JSON for all but 0. o_versions, o_positions: first ones of each part.
CREATE FUNCTION __schema__.append_batch(
    p_tenant text, p_attempt text, p_superseded text[], p_now bigint, p_check boolean,
    p_stream_ids bigint[],
    p_is_plain boolean, p_expects boolean,
    p_stream_events int[], p_part_offsets int[], p_event_offsets int[],
    p_streams text[], p_types text[], p_tags text[],
    p_call_parts int[], p_call_events int[], p_call_flags int[],
    p_call_keys text[], p_call_key_streams int[], p_call_hashes bytea[], p_call_firsts int[],
    p_part_streams int[], p_part_expected bigint[], p_part_events int[],
    p_part_after bigint[], p_part_queries text[],
    p_event_streams int[], p_ids text[], p_event_types int[], p_schema_versions int[],
    p_occurred bigint[], p_actors text[], p_causations text[], p_correlations text[],
    p_derived text[], p_event_tags text[], p_contexts text[],
    p_payloads bytea[], p_tails bytea[], p_given boolean[],
    p_tag_events int[], p_tag_numbers int[], p_cause_events int[], p_causes text[],
    OUT o_recorded bigint, OUT o_position bigint, OUT o_stream_versions bigint[],
    OUT o_statuses int[], OUT o_details text[], OUT o_versions bigint[], OUT o_positions bigint[],
    OUT o_stream_ids bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- Plans are made once a session, when tables may be empty; they must be right for full ones too.
-- So nothing below joins a table: a row is asked for by a subquery, which is a seek in an index.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $body$
DECLARE
    tenant bigint;
    pos bigint;                 -- the head, as the events accepted so far have moved it
    digest bytea;
    last_pos bigint;
    last_digest bytea;
    is_superseded boolean;
    stream_ids bigint[];        -- by index in p_streams
    stream_last bigint[];
    stream_added bigint[];
    type_ids bigint[];
    tag_ids bigint[];
    event_hash bytea[];
    numbers_end text;
    has_known_keys boolean;
    has_known_ids boolean;
BEGIN
    PERFORM set_config('eventstore.tenant', p_tenant, true);  -- for row-level security
    SELECT h.tenant_id, h.position, h.hash, greatest(h.recorded_at, p_now)
      INTO tenant, pos, digest, o_recorded
      FROM __schema__.tenants t JOIN __schema__.heads h ON h.tenant_id = t.tenant_id
     WHERE t.name = p_tenant FOR NO KEY UPDATE OF h;
    IF NOT FOUND THEN
        INSERT INTO __schema__.heads (tenant_id, position, hash, recorded_at)
        VALUES (__schema__.name_tenant(p_tenant), 0, decode(repeat('00', 32), 'hex'), 0)
        ON CONFLICT (tenant_id) DO NOTHING;
        SELECT h.tenant_id, h.position, h.hash, greatest(h.recorded_at, p_now)
          INTO tenant, pos, digest, o_recorded
          FROM __schema__.tenants t JOIN __schema__.heads h ON h.tenant_id = t.tenant_id
         WHERE t.name = p_tenant FOR NO KEY UPDATE OF h;
    END IF;

    -- The head is ours from here on. An expression costs more than what it computes, because
    -- plpgsql makes it ready anew in each transaction: so all is asked for in few statements.
    IF p_stream_ids IS NOT NULL THEN
        -- All are accepted whatever the versions, which are therefore found and moved at once. An
        -- id that the client remembers from a log that was there before this one moves nothing.
        WITH moved AS (
            INSERT INTO __schema__.streams AS t (
                stream_id, tenant_id, name, version, first_recorded_at, recorded_at)
            SELECT p_stream_ids[s], tenant, p_streams[s], p_stream_events[s],
                   o_recorded, o_recorded
              FROM generate_series(1, cardinality(p_streams)) s
                ON CONFLICT (stream_id) DO UPDATE
               SET version = t.version + excluded.version, recorded_at = excluded.recorded_at
             WHERE t.tenant_id = excluded.tenant_id AND t.name = excluded.name
            RETURNING t.stream_id, t.version)
        SELECT l.position, l.hash, b.attempt IS NOT NULL, n.ids,
               ARRAY(SELECT x.now - x.added
                       FROM ROWS FROM (unnest(n.now), unnest(p_stream_events))
                            WITH ORDINALITY x(now, added, i) ORDER BY x.i),
               CASE WHEN p_types IS NOT NULL THEN ARRAY(
                   SELECT (SELECT y.type_id FROM __schema__.event_types y WHERE y.name = n.name)
                     FROM unnest(p_types) WITH ORDINALITY n(name, i) ORDER BY n.i) END,
               CASE WHEN p_tags IS NOT NULL THEN ARRAY(
                   SELECT (SELECT y.tag_id FROM __schema__.tags y
                            WHERE y.tenant_id = tenant AND y.name = n.name)
                     FROM unnest(p_tags) WITH ORDINALITY n(name, i) ORDER BY n.i) END
          INTO last_pos, last_digest, is_superseded, stream_ids, o_stream_versions,
               type_ids, tag_ids
          FROM (SELECT array_agg(m.stream_id) AS ids, array_agg(m.version) AS now FROM moved m) n
          LEFT JOIN __schema__.superseded_batches b ON b.attempt = p_attempt
          LEFT JOIN LATERAL (
                   SELECT e.position, e.hash FROM __schema__.events e
                    WHERE e.tenant_id = tenant ORDER BY e.position DESC LIMIT 1
               ) l ON true;
        IF stream_ids IS DISTINCT FROM p_stream_ids OR 0 = ANY (o_stream_versions) THEN
            RAISE EXCEPTION USING ERRCODE = 'ES004',
                MESSAGE = 'a stream has another id than the client remembers';
        END IF;
        stream_last := o_stream_versions;
    ELSE
        SELECT l.position, l.hash, b.attempt IS NOT NULL, n.ids, n.was, n.last,
               CASE WHEN p_types IS NOT NULL THEN ARRAY(
                   SELECT (SELECT y.type_id FROM __schema__.event_types y WHERE y.name = n.name)
                     FROM unnest(p_types) WITH ORDINALITY n(name, i) ORDER BY n.i) END,
               CASE WHEN p_tags IS NOT NULL THEN ARRAY(
                   SELECT (SELECT y.tag_id FROM __schema__.tags y
                            WHERE y.tenant_id = tenant AND y.name = n.name)
                     FROM unnest(p_tags) WITH ORDINALITY n(name, i) ORDER BY n.i) END
          INTO last_pos, last_digest, is_superseded, stream_ids, o_stream_versions, stream_last,
               type_ids, tag_ids
          FROM (SELECT array_agg(coalesce(s.stream_id, nextval('__schema__.streams_stream_id_seq'))
                                 ORDER BY n.i) AS ids,
                       array_agg(coalesce(s.version, 0) ORDER BY n.i) AS was,
                       array_agg(CASE WHEN p_check THEN
                           (SELECT coalesce(max(e.version), 0) FROM __schema__.events e
                             WHERE e.stream_id = s.stream_id)
                           ELSE coalesce(s.version, 0) END ORDER BY n.i) AS last
                  FROM unnest(p_streams) WITH ORDINALITY n(name, i)
                  LEFT JOIN LATERAL (
                           SELECT s.stream_id, s.version FROM __schema__.streams s
                            WHERE s.tenant_id = tenant AND s.name = n.name LIMIT 1
                       ) s ON true) n
          LEFT JOIN __schema__.superseded_batches b ON b.attempt = p_attempt
          LEFT JOIN LATERAL (
                   SELECT e.position, e.hash FROM __schema__.events e
                    WHERE e.tenant_id = tenant ORDER BY e.position DESC LIMIT 1
               ) l ON true;
    END IF;
    IF is_superseded OR pos <> coalesce(last_pos, 0) OR digest <> last_digest
       OR stream_last <> o_stream_versions THEN
        PERFORM __schema__.refuse_batch(
            is_superseded, pos, last_pos, p_streams, o_stream_versions, stream_last);
    END IF;
    IF p_superseded IS NOT NULL THEN
        DELETE FROM __schema__.superseded_batches WHERE at < now() - interval '1 day';
        INSERT INTO __schema__.superseded_batches (attempt)
        SELECT unnest(p_superseded) ON CONFLICT DO NOTHING;
    END IF;
    IF p_call_keys IS NOT NULL THEN
        SELECT coalesce(bool_or((
                   SELECT true FROM __schema__.idempotency_keys k
                    WHERE k.tenant_id = tenant AND k.key = p_call_keys[c]
                      AND k.stream_id = coalesce(stream_ids[p_call_key_streams[c]], 0))), false)
          INTO has_known_keys FROM generate_series(1, cardinality(p_call_parts)) c;
        p_is_plain := p_is_plain AND NOT has_known_keys;
    END IF;
    IF p_given IS NOT NULL THEN
        SELECT coalesce(bool_or((
                   SELECT true FROM __schema__.events e
                    WHERE e.tenant_id = tenant AND e.event_id = p_ids[i])), false)
          INTO has_known_ids FROM generate_series(1, cardinality(p_ids)) i WHERE p_given[i];
        p_is_plain := p_is_plain AND NOT has_known_ids;
    END IF;
    IF p_expects AND p_is_plain THEN
        SELECT NOT EXISTS (
            SELECT 1 FROM (
                SELECT p_part_expected[j] AS wanted,
                       o_stream_versions[p_part_streams[j]] + p_part_offsets[j] AS ver
                  FROM generate_series(1, cardinality(p_part_streams)) j) e
             WHERE NOT (wanted = -1 OR wanted = ver OR wanted = -2 AND ver = 0
                        OR wanted = -3 AND ver > 0)) INTO p_is_plain;
    END IF;

    IF p_is_plain THEN
        -- All are accepted, in their order.
        numbers_end := ',' || o_recorded::text || ',';
        FOR i IN 1 .. cardinality(p_ids) LOOP
            digest := sha256(digest || convert_to(
                '[' || (pos + i)::text || ','
                || (o_stream_versions[p_event_streams[i]] + p_event_offsets[i])::text
                || numbers_end, 'UTF8') || p_tails[i] || p_payloads[i]);
            event_hash[i] := digest;
        END LOOP;
        IF event_hash IS NOT NULL THEN
            __write_events__
        END IF;
        stream_added := p_stream_events;
        o_stream_ids := CASE WHEN p_stream_ids IS NULL THEN stream_ids END;
        o_position := pos;
        pos := pos + cardinality(p_ids);
    ELSE
        SELECT j.o_head, j.o_digest, j.o_added, j.o_statuses, j.o_details, j.o_versions,
               j.o_positions
          INTO pos, digest, stream_added, o_statuses, o_details, o_versions, o_positions
          FROM __schema__.judge_batch(
              tenant, pos, digest, o_recorded, stream_ids, o_stream_versions, type_ids, tag_ids,
              has_known_keys, has_known_ids, p_streams, p_types, p_tags, p_call_parts,
              p_call_events, p_call_flags, p_call_keys, p_call_key_streams, p_call_hashes,
              p_part_streams, p_part_expected, p_part_events, p_part_after, p_part_queries,
              p_event_streams, p_ids, p_event_types, p_schema_versions, p_occurred, p_actors,
              p_causations, p_correlations, p_derived, p_event_tags, p_contexts, p_payloads,
              p_tails, p_given, p_tag_events, p_tag_numbers, p_cause_events, p_causes) j;
    END IF;

    IF pos > coalesce(last_pos, 0) THEN
        IF p_stream_ids IS NULL THEN
            INSERT INTO __schema__.streams AS t (
                stream_id, tenant_id, name, version, first_recorded_at, recorded_at)
            SELECT stream_ids[s], tenant, p_streams[s], o_stream_versions[s] + stream_added[s],
                   o_recorded, o_recorded
              FROM generate_series(1, cardinality(p_streams)) s WHERE stream_added[s] > 0
                ON CONFLICT (stream_id) DO UPDATE
               SET version = excluded.version, recorded_at = excluded.recorded_at;
        END IF;
        UPDATE __schema__.heads h SET position = pos, hash = digest, recorded_at = o_recorded
         WHERE h.tenant_id = tenant;
    END IF;
END
$body$
