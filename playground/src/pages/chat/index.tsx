/** Conversations with a model. */
export default function Chat() {
  return (
    <div class="page">
      <h1>Ask something.</h1>
    </div>
  );
}
