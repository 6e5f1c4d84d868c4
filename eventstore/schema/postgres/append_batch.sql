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
-- p_call_flags: 1 = has to see what earlier calls of the batch wrote; 2 = bears given ids.
-- p_part_expected: -1 any version, -2 no stream, -3 an existing stream, else that version.
-- o_statuses: 0 written, 1 stood already, 2 conflict, 3 condition, 4 key with other content, 5 id.
-- o_details: JSON for all but 0. o_versions, o_positions: first ones of each part.
CREATE FUNCTION __schema__.append_batch(
    p_tenant text, p_attempt text, p_superseded text[], p_now bigint,
    p_streams text[], p_types text[], p_tags text[],
    p_call_parts int[], p_call_events int[], p_call_flags int[],
    p_call_keys text[], p_call_key_streams int[], p_call_hashes bytea[],
    p_part_streams int[], p_part_expected bigint[], p_part_events int[],
    p_part_after bigint[], p_part_queries text[],
    p_event_streams int[], p_ids text[], p_event_types int[], p_schema_versions int[],
    p_occurred bigint[], p_actors text[], p_causations text[], p_correlations text[],
    p_derived text[], p_event_tags text[], p_contexts text[],
    p_payloads bytea[], p_tails bytea[], p_given boolean[],
    p_tag_events int[], p_tag_numbers int[], p_cause_events int[], p_causes text[],
    OUT o_recorded bigint, OUT o_statuses int[], OUT o_details text[],
    OUT o_versions bigint[], OUT o_positions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- Plans are made once a session, when tables may be empty; they must be right for full ones too.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $body$
DECLARE
    genesis CONSTANT bytea := decode(repeat('00', 32), 'hex');
    calls CONSTANT int := cardinality(p_call_parts);
    tenant bigint;              -- the head, as the events accepted so far have moved it
    pos bigint;
    digest bytea;
    recorded_last bigint;
    numbers_end text;           -- what stands behind position and version in an envelope
    last_pos bigint;
    last_digest bytea;
    is_superseded boolean;
    stream_ids bigint[];        -- by index in p_streams
    stream_was bigint[];
    stream_now bigint[];
    stream_last bigint[];
    type_ids bigint[];
    tag_ids bigint[];
    has_known_keys boolean := false;
    has_known_ids boolean := false;
    event_pos bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(p_ids)]);
    event_ver bigint[] := event_pos;
    event_hash bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(p_ids)]);
    call_first bigint[] := array_fill(NULL::bigint, ARRAY[calls]);
    call_said text[] := array_fill(NULL::text, ARRAY[calls]);           -- of a call over several streams: what its key's row says
    flushed int := 0;           -- events, calls up to here are in their tables
    flushed_calls int := 0;
    is_dirty boolean := false;
    first_part int;
    part int := 0;
    first_event int;
    event int := 0;
    status int;
    detail text;
    stream int;
    ver bigint;
    wanted bigint;
    count_left int;
    at int;
    known text;
    said record;
BEGIN
    PERFORM set_config('eventstore.tenant', p_tenant, true);  -- for row-level security
    SELECT h.tenant_id, h.position, h.hash, h.recorded_at
      INTO tenant, pos, digest, recorded_last
      FROM __schema__.tenants t JOIN __schema__.heads h ON h.tenant_id = t.tenant_id
     WHERE t.name = p_tenant FOR NO KEY UPDATE OF h;
    IF NOT FOUND THEN
        INSERT INTO __schema__.heads (tenant_id, position, hash, recorded_at)
        VALUES (__schema__.name_tenant(p_tenant), 0, genesis, 0)
        ON CONFLICT (tenant_id) DO NOTHING;
        SELECT h.tenant_id, h.position, h.hash, h.recorded_at
          INTO tenant, pos, digest, recorded_last
          FROM __schema__.tenants t JOIN __schema__.heads h ON h.tenant_id = t.tenant_id
         WHERE t.name = p_tenant FOR NO KEY UPDATE OF h;
    END IF;

    -- The head is ours from here on.
    SELECT e.position, e.hash,
           EXISTS (SELECT 1 FROM __schema__.superseded_batches s WHERE s.attempt = p_attempt)
      INTO last_pos, last_digest, is_superseded
      FROM (VALUES (1)) one LEFT JOIN LATERAL (
               SELECT l.position, l.hash FROM __schema__.events l
                WHERE l.tenant_id = tenant ORDER BY l.position DESC LIMIT 1
           ) e ON true;
    IF is_superseded THEN
        RAISE EXCEPTION USING ERRCODE = 'ES002', MESSAGE = 'this batch was sent again since';
    END IF;
    IF coalesce(last_pos, 0) <> pos OR coalesce(last_digest, genesis) <> digest THEN
        PERFORM __schema__.refuse_damage('head', pos, NULL, NULL,
            'the head says position ' || pos::text || ', and the log''s last event is another one');
    END IF;
    IF p_superseded IS NOT NULL THEN
        DELETE FROM __schema__.superseded_batches WHERE at < now() - interval '1 day';
        INSERT INTO __schema__.superseded_batches (attempt)
        SELECT unnest(p_superseded) ON CONFLICT DO NOTHING;
    END IF;
    o_recorded := greatest(recorded_last, p_now);
    numbers_end := ',' || o_recorded::text || ',';

    SELECT array_agg(coalesce(s.stream_id, nextval('__schema__.streams_stream_id_seq'))
                     ORDER BY n.i),
           array_agg(coalesce(s.version, 0) ORDER BY n.i),
           array_agg((SELECT coalesce(max(e.version), 0) FROM __schema__.events e
                       WHERE e.stream_id = s.stream_id) ORDER BY n.i)
      INTO stream_ids, stream_was, stream_last
      FROM unnest(p_streams) WITH ORDINALITY n(name, i)
      LEFT JOIN __schema__.streams s ON s.tenant_id = tenant AND s.name = n.name;
    stream_now := stream_was;
    -- An array that is first filled at a later index would begin there.
    o_versions := array_fill(NULL::bigint, ARRAY[cardinality(p_part_streams)]);
    o_positions := o_versions;
    IF stream_last <> stream_was THEN
        FOR s IN 1 .. cardinality(p_streams) LOOP
            IF stream_last[s] <> stream_was[s] THEN
                PERFORM __schema__.refuse_damage('head', NULL, p_streams[s], stream_was[s],
                    'stream ' || quote_literal(p_streams[s]) || ': its head says version '
                    || stream_was[s]::text || ', its events ' || stream_last[s]::text);
            END IF;
        END LOOP;
    END IF;
    IF p_types IS NOT NULL THEN
        SELECT array_agg(y.type_id ORDER BY n.i) INTO type_ids
          FROM unnest(p_types) WITH ORDINALITY n(name, i)
          LEFT JOIN __schema__.event_types y ON y.name = n.name;
    END IF;
    IF p_tags IS NOT NULL THEN
        SELECT array_agg(y.tag_id ORDER BY n.i) INTO tag_ids
          FROM unnest(p_tags) WITH ORDINALITY n(name, i)
          LEFT JOIN __schema__.tags y ON y.tenant_id = tenant AND y.name = n.name;
    END IF;
    IF p_call_keys IS NOT NULL THEN
        SELECT EXISTS (
            SELECT 1 FROM generate_series(1, calls) c
              JOIN __schema__.idempotency_keys k ON k.tenant_id = tenant
               AND k.stream_id = coalesce(stream_ids[p_call_key_streams[c]], 0)
               AND k.key = p_call_keys[c]
             WHERE p_call_keys[c] IS NOT NULL) INTO has_known_keys;
    END IF;
    IF p_given IS NOT NULL THEN
        SELECT EXISTS (
            SELECT 1 FROM generate_series(1, cardinality(p_ids)) i
              JOIN __schema__.events e ON e.tenant_id = tenant AND e.event_id = p_ids[i]
             WHERE p_given[i]) INTO has_known_ids;
    END IF;

    FOR c IN 1 .. calls + 1 LOOP
        -- What is accepted is written at the end, and before a call that has to see it.
        IF is_dirty AND (c > calls OR p_call_flags[c] & 1 <> 0) THEN
            IF array_position(type_ids, NULL) IS NOT NULL THEN
                INSERT INTO __schema__.event_types (name)
                SELECT DISTINCT p_types[p_event_types[i]] FROM generate_series(flushed + 1, event) i
                 WHERE event_pos[i] IS NOT NULL AND type_ids[p_event_types[i]] IS NULL
                 ORDER BY 1 ON CONFLICT DO NOTHING;
                SELECT array_agg(y.type_id ORDER BY n.i) INTO type_ids
                  FROM unnest(p_types) WITH ORDINALITY n(name, i)
                  LEFT JOIN __schema__.event_types y ON y.name = n.name;
            END IF;
            INSERT INTO __schema__.events (
                tenant_id, position, stream_id, version, event_id, type_id, schema_version,
                recorded_at, occurred_at, actor, causation_id, correlation_id, derived_from, tags,
                context, payload, hash)
            SELECT tenant, event_pos[i], stream_ids[p_event_streams[i]], event_ver[i], p_ids[i],
                   type_ids[p_event_types[i]], p_schema_versions[i], o_recorded, p_occurred[i],
                   p_actors[i], p_causations[i], p_correlations[i], p_derived[i], p_event_tags[i],
                   p_contexts[i], p_payloads[i], event_hash[i]
              FROM generate_series(flushed + 1, event) i WHERE event_pos[i] IS NOT NULL;
            IF p_tags IS NOT NULL THEN
                IF array_position(tag_ids, NULL) IS NOT NULL THEN
                    INSERT INTO __schema__.tags (tenant_id, name)
                    SELECT DISTINCT tenant, p_tags[p_tag_numbers[x]]
                      FROM generate_series(1, cardinality(p_tag_events)) x
                     WHERE p_tag_events[x] > flushed AND p_tag_events[x] <= event
                       AND event_pos[p_tag_events[x]] IS NOT NULL
                       AND tag_ids[p_tag_numbers[x]] IS NULL;
                    SELECT array_agg(y.tag_id ORDER BY n.i) INTO tag_ids
                      FROM unnest(p_tags) WITH ORDINALITY n(name, i)
                      LEFT JOIN __schema__.tags y ON y.tenant_id = tenant AND y.name = n.name;
                END IF;
                INSERT INTO __schema__.event_tags (tag_id, position)
                SELECT tag_ids[p_tag_numbers[x]], event_pos[p_tag_events[x]]
                  FROM generate_series(1, cardinality(p_tag_events)) x
                 WHERE p_tag_events[x] > flushed AND p_tag_events[x] <= event
                   AND event_pos[p_tag_events[x]] IS NOT NULL;
            END IF;
            IF p_causes IS NOT NULL THEN
                INSERT INTO __schema__.event_causes (tenant_id, cause_id, position)
                SELECT tenant, p_causes[x], event_pos[p_cause_events[x]]
                  FROM generate_series(1, cardinality(p_cause_events)) x
                 WHERE p_cause_events[x] > flushed AND p_cause_events[x] <= event
                   AND event_pos[p_cause_events[x]] IS NOT NULL;
            END IF;
            IF p_call_keys IS NOT NULL THEN
                INSERT INTO __schema__.idempotency_keys (
                    tenant_id, stream_id, key, content_hash, first_position, event_count, call)
                SELECT tenant, coalesce(stream_ids[p_call_key_streams[k]], 0), p_call_keys[k],
                       p_call_hashes[k], call_first[k], p_call_events[k], call_said[k]
                  FROM generate_series(flushed_calls + 1, c - 1) k
                 WHERE p_call_keys[k] IS NOT NULL AND call_first[k] IS NOT NULL;
            END IF;
            flushed := event;
            flushed_calls := c - 1;
            is_dirty := false;
        END IF;
        EXIT WHEN c > calls;

        first_part := part + 1;
        part := part + p_call_parts[c];
        first_event := event + 1;
        event := event + p_call_events[c];
        status := NULL;
        detail := NULL;

        -- Its key first.
        IF p_call_keys[c] IS NOT NULL AND (has_known_keys OR p_call_flags[c] & 1 <> 0) THEN
            SELECT j.status, j.detail INTO status, detail
              FROM __schema__.judge_key(
                  tenant, coalesce(stream_ids[p_call_key_streams[c]], 0),
                  p_streams[p_call_key_streams[c]], p_call_keys[c], p_call_hashes[c]) j;
        END IF;

        -- Then the ids that its caller gave: all of its events stand as they are now, or none.
        known := NULL;
        IF status IS NULL AND p_call_flags[c] & 2 <> 0
           AND (has_known_ids OR p_call_flags[c] & 1 <> 0) THEN
            SELECT p_ids[i] INTO known FROM generate_series(first_event, event) i
              JOIN __schema__.events e ON e.tenant_id = tenant AND e.event_id = p_ids[i]
             WHERE p_given[i] ORDER BY i LIMIT 1;
        END IF;
        IF known IS NOT NULL THEN
            status := 1;
            at := first_part - 1;
            count_left := 0;
            FOR said IN
                SELECT e.position, e.version, e.recorded_at, p_ids[i] AS id,
                       e.stream_id = stream_ids[p_event_streams[i]]
                       AND e.type_id = type_ids[p_event_types[i]]
                       AND e.schema_version = p_schema_versions[i]
                       AND e.occurred_at IS NOT DISTINCT FROM p_occurred[i]
                       AND e.actor IS NOT DISTINCT FROM p_actors[i]
                       AND e.causation_id IS NOT DISTINCT FROM p_causations[i]
                       AND e.correlation_id IS NOT DISTINCT FROM p_correlations[i]
                       AND e.derived_from IS NOT DISTINCT FROM p_derived[i]
                       AND e.tags IS NOT DISTINCT FROM p_event_tags[i]
                       AND e.context IS NOT DISTINCT FROM p_contexts[i]
                       AND e.payload_format = 0 AND e.subject_key_id IS NULL
                       AND e.payload = p_payloads[i] AS is_same
                  FROM generate_series(first_event, event) i
                  LEFT JOIN __schema__.events e
                    ON p_given[i] AND e.tenant_id = tenant AND e.event_id = p_ids[i]
                 ORDER BY i
            LOOP
                WHILE count_left = 0 LOOP
                    at := at + 1;
                    count_left := p_part_events[at];
                    o_versions[at] := stream_now[p_part_streams[at]];
                    o_positions[at] := pos;
                    ver := NULL;
                END LOOP;
                IF said.position IS NULL THEN
                    status := 5;
                    detail := json_build_array(at - first_part, known)::text;
                    EXIT;
                END IF;
                IF ver IS NULL THEN
                    ver := said.version;
                    o_versions[at] := ver;
                    o_positions[at] := said.position;
                    call_first[c] := coalesce(call_first[c], said.position);
                END IF;
                IF said.version <> ver OR said.is_same IS NOT TRUE THEN
                    status := 5;
                    detail := json_build_array(at - first_part, said.id)::text;
                    EXIT;
                END IF;
                ver := ver + 1;
                count_left := count_left - 1;
                wanted := said.recorded_at;
            END LOOP;
            IF status = 1 THEN
                FOR rest IN at + 1 .. part LOOP
                    o_versions[rest] := stream_now[p_part_streams[rest]];
                    o_positions[rest] := pos;
                END LOOP;
                SELECT json_build_array(wanted, NULL, json_agg(json_build_array(
                           o_versions[j], o_positions[j], p_part_events[j]) ORDER BY j))::text
                  INTO detail FROM generate_series(first_part, part) j;
                -- From now on its key is used: other content under it is not what was sent first.
                is_dirty := is_dirty OR p_call_keys[c] IS NOT NULL;
            ELSE
                call_first[c] := NULL;
            END IF;
        END IF;

        -- Then what each part expects.
        IF status IS NULL THEN
            FOR j IN first_part .. part LOOP
                wanted := p_part_expected[j];
                IF wanted <> -1 THEN
                    ver := stream_now[p_part_streams[j]];
                    IF NOT (wanted = ver OR wanted = -2 AND ver = 0 OR wanted = -3 AND ver > 0) THEN
                        status := 2;
                        detail := json_build_array(j - first_part, ver)::text;
                        EXIT;
                    END IF;
                END IF;
                IF p_part_queries[j] IS NOT NULL AND p_part_after[j] < pos
                   AND __schema__.any_after(tenant, p_part_queries[j], p_part_after[j]) THEN
                    status := 3;
                    detail := json_build_array(
                        j - first_part, stream_now[p_part_streams[j]])::text;
                    EXIT;
                END IF;
            END LOOP;
        END IF;

        -- It is accepted: its events get the next versions and positions.
        IF status IS NULL THEN
            status := 0;
            IF event >= first_event THEN
                is_dirty := true;
                call_first[c] := pos + 1;
            END IF;
            at := first_event;
            FOR j IN first_part .. part LOOP
                stream := p_part_streams[j];
                ver := stream_now[stream];
                count_left := p_part_events[j];
                IF count_left = 0 THEN
                    o_versions[j] := ver;
                    o_positions[j] := pos;
                    CONTINUE;
                END IF;
                o_versions[j] := ver + 1;
                o_positions[j] := pos + 1;
                FOR i IN at .. at + count_left - 1 LOOP
                    pos := pos + 1;
                    ver := ver + 1;
                    digest := sha256(digest
                        || convert_to('[' || pos::text || ',' || ver::text || numbers_end, 'UTF8')
                        || p_tails[i] || p_payloads[i]);
                    event_pos[i] := pos;
                    event_ver[i] := ver;
                    event_hash[i] := digest;
                END LOOP;
                at := at + count_left;
                stream_now[stream] := ver;
            END LOOP;
        END IF;
        IF call_first[c] IS NOT NULL AND p_call_keys[c] IS NOT NULL AND p_call_key_streams[c] = 0
        THEN
            SELECT json_build_array(
                       json_agg(p_streams[p_part_streams[j]] ORDER BY j),
                       json_agg(json_build_array(
                           o_versions[j], o_positions[j], p_part_events[j]) ORDER BY j))::text
              INTO detail FROM generate_series(first_part, part) j;
            call_said[c] := detail;
            detail := CASE WHEN status = 1 THEN
                '[' || wanted::text || ',' || substr(detail, 2) END;
        END IF;
        o_statuses[c] := status;
        IF detail IS NOT NULL THEN
            o_details := coalesce(o_details, array_fill(NULL::text, ARRAY[calls]));
            o_details[c] := detail;
        END IF;
    END LOOP;

    IF pos > coalesce(last_pos, 0) THEN
        INSERT INTO __schema__.streams (
            stream_id, tenant_id, name, version, first_recorded_at, recorded_at)
        SELECT stream_ids[s], tenant, p_streams[s], stream_now[s], o_recorded, o_recorded
          FROM generate_series(1, cardinality(p_streams)) s
         WHERE stream_was[s] = 0 AND stream_now[s] > 0;
        UPDATE __schema__.streams t SET version = stream_now[s], recorded_at = o_recorded
          FROM generate_series(1, cardinality(p_streams)) s
         WHERE t.stream_id = stream_ids[s] AND stream_was[s] > 0 AND stream_now[s] > stream_was[s];
        UPDATE __schema__.heads h SET position = pos, hash = digest, recorded_at = o_recorded
         WHERE h.tenant_id = tenant;
    END IF;
END
$body$
