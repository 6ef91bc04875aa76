"""Words of trades: what the guess of the task tells domain expertise by. Plain words of daily use are left out."""

from __future__ import annotations

DOMAINS = {
    "medicine": """patient patients diagnosis diagnosed dosage dose mg symptoms symptom clinical therapy chronic acute
        hypertension diabetes insulin antibiotic antibiotics infection tumor tumour cancer cardiac renal hepatic lesion
        surgery surgical physician prognosis pathology inflammation artery vaccine syndrome adverse contraindicated
        anemia biopsy glucose intravenous pediatric oncology fracture mri ct ecg hemoglobin""",
    "law": """plaintiff defendant statute statutory jurisdiction court courts tribunal liability negligence tort
        clause breach damages appellant appeal litigation attorney counsel injunction precedent jurisprudence indemnity
        pursuant herein thereof covenant arbitration testimony prosecution felony misdemeanor constitutional gdpr
        copyright patent lessee lessor fiduciary judgment""",
    "finance": """equity equities dividend dividends portfolio bond bonds yield liquidity hedge derivative derivatives
        volatility asset assets liabilities ebitda revenue fiscal amortization depreciation audit ledger accrual
        securities interest-rate inflation treasury collateral credit underwriting valuation leverage margin ifrs gaap
        shareholders arbitrage mortgage""",
    "software": """api endpoint server client database query kubernetes docker container cluster deployment repository
        commit branch latency cache thread mutex compiler runtime framework backend frontend middleware oauth token
        http https json yaml sql schema microservice linux kernel daemon config authentication encryption stacktrace
        exception rollback webhook""",
    "science": """protein proteins enzyme molecule molecules electron electrons quantum photon genome gene genes rna dna
        catalyst polymer isotope thermodynamic entropy hypothesis spectroscopy neuron neurons mitochondria chromosome
        eigenvalue theorem lemma isomorphism manifold velocity momentum acceleration oxidation covalent reagent solvent
        ph nucleus taxonomy photosynthesis""",
    "engineering": """torque voltage amperage resistor capacitor transistor circuit impedance hydraulic pneumatic valve
        bearing gasket actuator plc scada turbine compressor weld welding tensile alloy tolerance rpm hvac coolant
        transformer inverter solenoid flange corrosion payload fuselage avionics""",
    "insurance": """policyholder premium premiums deductible underwriter insured insurer claimant coverage indemnify
        actuarial reinsurance beneficiary copay annuity rider""",
    "agriculture": """soil irrigation fertilizer nitrogen crop crops harvest livestock pasture pesticide herbicide
        yield acre hectare fungal aphids compost grazing silage""",
}

STYLE_CUES = frozenset(
    """tone style rewrite rephrase paraphrase reword polite politely formal informal formally casual friendly sarcastic
    sarcastically sarcasm playful witty wit voice persona cheerful pirate empathetic empathy humorous humorously humor
    humour rude warm upbeat snarky enthusiastic concise on-brand brand happy positive spin poetic shakespeare
    shakespearean roleplay personality""".split()
)
