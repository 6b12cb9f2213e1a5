// The inputs of a settings form: each with what it means, its unit and its range.
import { useId } from "preact/hooks";
import type { FieldProblem } from "../data/api.ts";
import type { Field, Typed, Wrong } from "../data/fields.ts";
import { count, timeZone } from "../format.ts";
import { has, t, word, type Key } from "../language.ts";

interface FieldsProps {
  /** "zone" or "offer": where the words for a field are. */
  of: "zone" | "offer";
  fields: readonly Field[];
  typed: Typed;
  base: Typed;
  wrong: Record<string, Wrong>;
  refused: FieldProblem[];
  set: (name: string, value: string | boolean) => void;
  /** Ids to offer for fields that name another thing. */
  ids: Partial<Record<"zones" | "offers" | "apps", string[]>>;
  locked?: boolean;
}

export function Fields(props: FieldsProps) {
  const groups = [...new Set(props.fields.map((field) => field.group))];
  return (
    <>
      {groups.map((group) => {
        const inputs = props.fields.filter((field) => field.group === group).map((field) => <Input key={field.name} {...props} field={field} />);
        const title = t(`${props.of}.group.${group}` as Key);
        // What is hardly ever touched is folded away.
        if (group === "fine") {
          return (
            <details key={group} class="fieldset">
              <summary>{title}</summary>
              <div class="fields">{inputs}</div>
            </details>
          );
        }
        return (
          <fieldset key={group} class="fieldset">
            <legend>{title}</legend>
            <div class="fields">{inputs}</div>
          </fieldset>
        );
      })}
    </>
  );
}

function Input({ of, field, typed, base, wrong, refused, set, ids, locked = false }: FieldsProps & { field: Field }) {
  const id = useId();
  const value = typed[field.name] ?? "";
  const changed = value !== base[field.name];
  const mine = wrong[field.name];
  const theirs = refused.find((one) => one.field === field.name);
  const bad = mine !== undefined || theirs !== undefined;
  const label = t(`${of}.${field.name}` as Key);
  const help = t(`${of}.${field.name}.help` as Key);
  const shared = { id, disabled: locked, "aria-describedby": `${id}-help`, "aria-invalid": bad ? ("true" as const) : undefined };
  const typing = (event: { currentTarget: { value: string } }) => set(field.name, event.currentTarget.value);
  if (field.kind === "switch") {
    return (
      <div class={changed ? "field field-changed" : "field"}>
        <label class="switch">
          <input {...shared} type="checkbox" checked={value === true} onChange={(event) => set(field.name, event.currentTarget.checked)} /> {label}
        </label>
        <p class="help" id={`${id}-help`}>
          {help}
        </p>
      </div>
    );
  }
  const text = String(value);
  const unit = field.kind === "number" ? field.unit : null;
  return (
    <div class={`field${changed ? " field-changed" : ""}${field.kind === "text" ? " field-wide" : ""}`}>
      <div class="field-head">
        <label for={id}>{label}</label>
        {changed && <span class="changed-mark">{t("form.changed")}</span>}
      </div>
      {field.kind === "choice" ? (
        <select {...shared} value={text} onChange={typing}>
          {field.choices.map((choice) => (
            <option key={choice} value={choice}>
              {word(`${of}.${field.name}`, choice)}
            </option>
          ))}
        </select>
      ) : field.kind === "text" && field.long ? (
        <textarea {...shared} rows={2} dir="auto" value={text} onInput={typing} />
      ) : (
        <span class="input-unit">
          <input
            {...shared}
            type={field.kind === "time" ? "datetime-local" : "text"}
            step={field.kind === "time" ? 1 : undefined}
            inputMode={field.kind === "number" ? "numeric" : undefined}
            class={field.kind === "number" ? "num" : undefined}
            dir={field.kind === "text" ? "auto" : undefined}
            list={field.kind === "id" ? `${id}-list` : undefined}
            placeholder={"nullable" in field && field.nullable ? t(`${of}.${field.name}.none` as Key) : undefined}
            autocomplete="off"
            value={text}
            onInput={typing}
          />
          {unit !== null && has(`unit.${unit}`) && <span class="unit">{t(`unit.${unit}` as Key)}</span>}
        </span>
      )}
      {field.kind === "id" && (
        <datalist id={`${id}-list`}>
          {(ids[field.of] ?? []).map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      )}
      <p class="help" id={`${id}-help`}>
        {bad && <strong class="wrong">{mine ? t(mine.key, mine.values) : theirs?.reason} </strong>}
        {help} {range(field)}
      </p>
    </div>
  );
}

function range(field: Field): string {
  if (field.kind === "time") return t("form.zone", { zone: timeZone() });
  if (field.kind === "text") return t("form.most", { most: field.most });
  if (field.kind !== "number" || field.unit === "price") return "";
  return t("form.from_to", { least: count(field.least), most: count(field.most) });
}
