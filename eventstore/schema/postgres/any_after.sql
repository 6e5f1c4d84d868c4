-- Whether an event of the tenant that matches any of the queries stands behind a position.
-- p_queries: JSON [[[types], [tags]], ...]; types any of, tags all of.
CREATE FUNCTION __schema__.any_after(p_tenant_id bigint, p_queries text, p_after bigint)
RETURNS boolean
LANGUAGE plpgsql STABLE
AS $body$
DECLARE
    query json;
    types bigint[];
    tags bigint[];
    has_one boolean;
BEGIN
    FOR query IN SELECT q FROM json_array_elements(p_queries::json) q LOOP
        SELECT array_agg(y.type_id) INTO types
          FROM json_array_elements_text(query -> 0) n(name)
          JOIN __schema__.event_types y ON y.name = n.name;
        CONTINUE WHEN types IS NULL AND json_array_length(query -> 0) > 0;
        -- The rarest tag leads: its events are looked through, the others are asked for each.
        SELECT array_agg(y.tag_id ORDER BY (
                   SELECT count(*) FROM (
                       SELECT 1 FROM __schema__.event_tags x
                        WHERE x.tag_id = y.tag_id AND x.position > p_after LIMIT 1000) few))
          INTO tags
          FROM json_array_elements_text(query -> 1) n(name)
          JOIN __schema__.tags y ON y.tenant_id = p_tenant_id AND y.name = n.name;
        CONTINUE WHEN coalesce(cardinality(tags), 0) < json_array_length(query -> 1);
        IF tags IS NOT NULL THEN
            SELECT EXISTS (
                SELECT 1 FROM __schema__.event_tags l
                 WHERE l.tag_id = tags[1] AND l.position > p_after
                   AND NOT EXISTS (
                       SELECT 1 FROM unnest(tags[2:]) r(tag_id)
                        WHERE NOT EXISTS (
                            SELECT 1 FROM __schema__.event_tags x
                             WHERE x.tag_id = r.tag_id AND x.position = l.position))
                   AND (types IS NULL OR EXISTS (
                       SELECT 1 FROM __schema__.events e
                        WHERE e.tenant_id = p_tenant_id AND e.position = l.position
                          AND e.type_id = ANY (types)))) INTO has_one;
        ELSIF types IS NOT NULL THEN
            -- One type at a time: each is a single seek in its index.
            SELECT EXISTS (
                SELECT 1 FROM unnest(types) r(type_id), LATERAL (
                    SELECT 1 FROM __schema__.events e
                     WHERE e.tenant_id = p_tenant_id AND e.type_id = r.type_id
                       AND e.position > p_after LIMIT 1) one) INTO has_one;
        ELSE
            SELECT EXISTS (
                SELECT 1 FROM __schema__.events e
                 WHERE e.tenant_id = p_tenant_id AND e.position > p_after) INTO has_one;
        END IF;
        IF has_one THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$body$
