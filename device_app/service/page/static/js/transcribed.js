// What was transcribed on the page. It stays until the person clears it: in this tab, also when the page is loaded again.

const KEY = "asr-edge.transcribed.";

export class Transcribed {
  /**
   * The texts of the owner of a model.
   * @param {string} owner the model's name.
   */
  constructor(owner) {
    this.key = KEY + owner;
    const found = JSON.parse(sessionStorage.getItem(this.key) ?? "{}");
    /** What was said live. */
    this.live = found.live ?? "";
    /** The files, newest first: {name, segments, end}; `end` is the last line that the service sent for it. */
    this.files = found.files ?? [];
  }

  /** Stores the texts. A tab can keep some megabytes; more stays only until the page is loaded again. */
  save() {
    try {
      sessionStorage.setItem(this.key, JSON.stringify({ live: this.live, files: this.files }));
    } catch (error) {
      console.warn(error);
    }
  }
}
