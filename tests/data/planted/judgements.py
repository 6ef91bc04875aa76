"""What reading the shared files by eye has shown: lines that a check is right to flag, or may flag, and why.

By file, kind of defect and reason, the lines (in a `.json` array the records' numbers, from 1). Such a line is no false
alarm of that kind. It gets here only after somebody has read the row, never because a check flags it. The repeats were
found by comparing every pair of rows with `jaccard_similarity`, and read afterwards.

Read on 2026-11-24: all answers of the five files that a broad search for each kind brought up (some 400). Left out on
purpose, so that flagging them is a false alarm: lists, titles, labels, sums, tables, code and screenplays that end
without a full stop; HTML, code and translations that were asked for; "I'm sorry" said in sympathy or within a role; the
sign-offs of a support dialogue; one question put to different tools with the answer that these allow.
"""

from __future__ import annotations

JUDGED: dict[str, dict[str, dict[str, tuple[int, ...]]]] = {
    "alpaca_en_demo.json": {
        "answers.truncated": {
            "the last sentence stops in its middle, at about the same length in each": (125, 270, 464, 731, 899),
            "the last sentence lacks its end and its full stop": (783,),
            "the HTML page stops within a paragraph": (559,),
            "ends with the number of a list item that is not there": (346, 689),
            "the multiplication table stops at 4 of 10, its code fence open": (180,),
        },
        "answers.refusal": {
            "speaks of itself as an AI where the question did not ask for that": (
                44, 68, 81, 83, 96, 118, 157, 240, 265, 276, 381, 408, 433, 503, 527, 600, 609, 631, 666, 692, 712, 737,
                795, 800, 818, 943, 974,
            ),
            "no access to external data, says a program": (186, 224, 740),
            "declines, some with a hint instead": (
                44, 81, 83, 96, 118, 186, 224, 240, 265, 276, 381, 408, 433, 503, 527, 609, 666, 692, 712, 737, 740,
                795,
                818, 943, 974,
            ),
            "declines for want of something that the question should have given": (718, 738, 837, 931, 944),
        },
        "duplicates.exact": {
            "word for word another row": (
                93, 611, 101, 592, 118, 276, 147, 647, 171, 867, 353, 569, 388, 547, 399, 509, 848, 485, 703, 507, 746,
                543, 701, 615, 772, 854, 895,
            ),
        },
        "personal.email": {"addresses at a domain that is not kept for examples": (358,)},
        "personal.phone": {"a made-up number, as asked for": (92,)},
    },
    "glaive_toolcall_en_demo.json": {
        "answers.truncated": {
            "stops after the first word of a sentence": (52,),
            "the code or JSON of an earlier answer lacks its last brackets": (48, 79),
            "the code fence around the zeros is not closed": (244,),
        },
        "answers.markup": {"[QR_CODE_IMAGE_DATA] stands where the image should": (40, 89, 205)},
        "answers.refusal": {
            "declines what its tools cannot do: a refusal, though a wanted one": (
                1, 23, 24, 30, 39, 54, 56, 58, 60, 61, 107, 109, 126, 127, 129, 130, 135, 136, 140, 142, 144, 160,
                165, 184,
                185, 207, 208, 209, 211, 214, 216, 220, 227, 237, 247, 262, 263, 267, 277, 279, 280, 289, 290, 295,
            ),
            "speaks of itself as an AI": (
                1, 24, 30, 58, 60, 127, 129, 140, 165, 184, 207, 208, 211, 237, 263, 289,
            ),
        },
        "answers.loop": {"a registry value of thousands of zeros": (244,)},
        "answers.overlong": {"the same row: 6,110 characters of zeros": (244,)},
        "duplicates.exact": {
            "word for word another row": (
                2, 5, 7, 9, 14, 19, 20, 29, 34, 35, 38, 40, 47, 49, 55, 64, 75, 76, 78, 82, 84, 85, 87, 89, 90, 97,
                101, 102,
                111, 112, 113, 118, 124, 129, 133, 137, 156, 158, 161, 165, 166, 169, 181, 186, 187, 197, 198, 199,
                208, 215,
                216, 218, 223, 225, 227, 231, 234, 237, 238, 242, 246, 249, 255, 264, 265, 269, 272, 276, 277, 293,
                295, 296,
                298,
            ),
        },
        "duplicates.near": {
            "shares 0.7 or more of its word pairs with another row": (
                12, 28, 32, 37, 40, 44, 47, 49, 59, 60, 67, 85, 89, 96, 97, 102, 107, 114, 135, 138, 170, 180, 181,
                194, 201,
                205, 214, 217, 218, 231, 234, 235, 243, 246, 248, 251, 264, 266, 268, 289, 290, 292, 299,
            ),
            "word for word another row, its tools told in other words": (49, 78, 102, 218, 234, 264, 293),
        },
        "contradictions.exact": {"the same question and tools, declined in other words": (60, 165, 237)},
        "contradictions.near": {"the same question and tools, declined in other words": (60, 165, 237)},
        "personal.email": {
            "an address at yourdomain.com, which somebody owns": (5, 7, 197),
            "an address at company.com, which somebody owns": (32, 59, 68, 167, 194, 251),
        },
        "personal.secret": {
            "a password that was made for a user, told beside that word": (49, 97, 102, 168, 181, 218, 235),
        },
    },
    "toy_chat_fine_tuning.jsonl": {
        "consistency.system": {"no system prompt, where the other four have the same one": (3,)},
        "consistency.roles": {"the assistant speaks first": (4,)},
        "answers.loop": {"one sentence 2,000 times": (5,)},
    },
    "dpo_en_demo.json": {
        "answers.truncated": {
            "the code of the chosen answer stops within a line": (8, 171),
            "the chosen answer stops in a word or a quotation": (179, 289),
            "an earlier answer of the conversation is cut off": (66, 85, 90, 114, 124, 138, 175, 213, 230, 276),
        },
        "answers.refusal": {
            "the chosen answer speaks of itself as an AI": (8, 70, 102, 193, 232),
            "the rejected answer speaks of itself as an AI": (8, 15, 70, 91, 234, 244),
            "the chosen answer declines": (70, 142),
            "the rejected answer declines": (11, 70, 234, 240),
            "an earlier answer declines for want of an image": (155,),
        },
        "answers.markup": {
            "R&amp;B in the chosen answer": (182,),
            "tags or entities in the rejected answer": (8, 215),
        },
        "answers.loop": {"the rejected answer is a number with hundreds of zeros": (165,)},
        "duplicates.exact": {"word for word another row": (14, 29, 85, 112, 118, 157, 186, 230, 248, 275)},
    },
}  # fmt: skip


def judged_lines(name: str, kind: str) -> set[int]:
    """The lines of a file that may be flagged as of this kind."""
    return {line for lines in JUDGED.get(name, {}).get(kind, {}).values() for line in lines}
