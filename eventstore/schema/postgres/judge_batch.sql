-- Judges the calls of a batch one after the other and writes what is accepted: the way of every
-- batch whose calls cannot all be seen to be accepted at once. Only append_batch calls it, which
-- holds the tenant's head and has looked up the names; its arguments are explained there.
-- o_added: events that each stream got. o_head: the position of the head then, o_digest its hash.
CREATE FUNCTION __schema__.judge_batch(
    tenant bigint, pos bigint, digest bytea, o_recorded bigint,
    stream_ids bigint[], stream_was bigint[], type_ids bigint[], tag_ids bigint[],
    has_known_keys boolean, has_known_ids boolean,
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
    OUT o_head bigint, OUT o_digest bytea, OUT o_added bigint[],
    OUT o_statuses int[], OUT o_details text[], OUT o_versions bigint[], OUT o_positions bigint[]
)
LANGUAGE plpgsql VOLATILE
AS $body$
DECLARE
    calls CONSTANT int := cardinality(p_call_parts);
    numbers_end CONSTANT text := ',' || o_recorded::text || ',';
    stream_now bigint[] := stream_was;
    event_pos bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(p_ids)]);
    event_ver bigint[] := event_pos;
    event_hash bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(p_ids)]);
    call_first bigint[] := array_fill(NULL::bigint, ARRAY[calls]);
    call_said text[] := array_fill(NULL::text, ARRAY[calls]);  -- what the row of a call's key says
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
    -- An array that is first filled at a later index would begin there.
    o_versions := array_fill(NULL::bigint, ARRAY[cardinality(p_part_streams)]);
    o_positions := o_versions;
    o_statuses := array_fill(NULL::int, ARRAY[calls]);
    o_details := array_fill(NULL::text, ARRAY[calls]);
    FOR c IN 1 .. calls + 1 LOOP
        -- What is accepted is written at the end, and before a call that has to see it.
        IF is_dirty AND (c > calls OR p_call_flags[c] & 1 <> 0) THEN
            __write_events__
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
             WHERE p_given[i] AND (SELECT true FROM __schema__.events e
                                    WHERE e.tenant_id = tenant AND e.event_id = p_ids[i])
             ORDER BY i LIMIT 1;
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
                  LEFT JOIN LATERAL (
                           SELECT * FROM __schema__.events e
                            WHERE p_given[i] AND e.tenant_id = tenant AND e.event_id = p_ids[i]
                            LIMIT 1
                       ) e ON true
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
                    o_positions[j] := coalesce(call_first[c] - 1, pos);  -- what it was held against
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
        o_details[c] := detail;
    END LOOP;

    o_head := pos;
    o_digest := digest;
    SELECT array_agg(stream_now[s] - stream_was[s] ORDER BY s) INTO o_added
      FROM generate_series(1, cardinality(p_streams)) s;
END
$body$
