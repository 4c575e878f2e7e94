/** Buttons: with words, or an icon alone whose words are its label and tooltip. */
import type { IconNode } from "lucide";
import type { ButtonHTMLAttributes, Ref } from "preact";
import { Icon } from "./icon";

interface IconButtonProps extends Omit<ButtonHTMLAttributes, "icon" | "label"> {
  icon: IconNode;
  label: string;
  size?: number;
  innerRef?: Ref<HTMLButtonElement>;
}

export function IconButton({ icon, label, size, innerRef, ...rest }: IconButtonProps) {
  return (
    <button type="button" {...rest} ref={innerRef ?? null} class={`icon-button ${rest.class ?? ""}`} aria-label={label} title={label}>
      <Icon of={icon} {...(size ? { size } : {})} />
    </button>
  );
}
